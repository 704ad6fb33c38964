"""Train mini-llava from nothing: `python -m app.demo_model.train --run runs/mini-llava`.

Seeded and resumable: a killed run goes on from its last checkpoint when the same command is given again. Stage 1
teaches the vision tower with dense labels, stage 2 the projector and the decoder with questions and answers, first on
pooled patches, then on all of them, stage 3 everything together. Visual tokens are never dropped in training: what
pruning does to a model that was not made for it is the point of this model. Needs the package `easy-vqa`, whose
training split is part of the data.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from app.demo_model.architecture import build_model
from app.demo_model.checkpoints import load_state, steps_done
from app.demo_model.joint_stage import train_joint
from app.demo_model.language_stage import train_language
from app.demo_model.pictures_pool import easy_vqa_questions
from app.demo_model.text import build_processor, train_tokenizer
from app.demo_model.vision_stage import train_vision
from fitprune_core.models.loading import load_model

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(args.run / "train.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    if args.start_from is not None:
        model, processor = load_model(str(args.start_from))
        tokenizer = processor.tokenizer
    else:
        if steps_done(args.run / "vision.pt") < args.vision_steps:
            train_vision(args.run, steps=args.vision_steps, pictures=args.pictures, batch_size=args.vision_batch,
                         lr=args.vision_lr, seed=args.seed)  # fmt: skip
        tokenizer = run_tokenizer(args.run, args.seed)
        torch.manual_seed(args.seed)
        model = build_model(tokenizer)
        load_state(args.run / "vision.pt", {"tower": model.model.vision_tower}, [])
    shared = {"batch_size": args.language_batch, "questions": args.questions, "seed": args.seed,
              "on_checkpoint": lambda: export(model, tokenizer, args.run / "checkpoint")}  # fmt: skip
    if args.start_from is None:
        train_language(args.run, tokenizer, model, steps=args.language_steps, pooled_steps=args.pooled_steps,
                       pictures=args.pictures, lr=args.language_lr, **shared)  # fmt: skip
    train_joint(args.run, tokenizer, model, steps=args.joint_steps, lr=args.joint_lr, **shared)


def run_tokenizer(run: Path, seed: int):
    """The run's tokenizer: trained once, then read, because a resumed decoder only knows the first one's ids."""
    folder = run / "tokenizer"
    if not folder.exists():
        questions = tuple(question for question, _, _ in easy_vqa_questions("train")[:2000])
        train_tokenizer(seed, extra=questions).save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def export(model, tokenizer, folder: Path) -> None:
    """Save model and processor in the Hub's layout; float16 on disk halves the file, the model stays as it is."""
    state = {name: value.half() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    build_processor(tokenizer).save_pretrained(folder)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoints and logs")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other scenes")
    parser.add_argument("--start-from", type=Path, help="a finished model to train further: stage 3 alone")
    parser.add_argument("--pictures", type=int, default=20_000, help="scenes in the pool")
    parser.add_argument("--vision-steps", type=int, default=1300)
    parser.add_argument("--vision-batch", type=int, default=32, help="pictures a step")
    parser.add_argument("--vision-lr", type=float, default=2e-3)
    parser.add_argument("--language-steps", type=int, default=3000)
    parser.add_argument("--pooled-steps", type=int, default=1800, help="steps on 2 x 2-pooled patches, before all")
    parser.add_argument("--joint-steps", type=int, default=2000, help="steps in which the whole model learns")
    parser.add_argument("--joint-lr", type=float, default=8e-4)
    parser.add_argument("--language-batch", type=int, default=12, help="pictures a step of the last two stages")
    parser.add_argument("--questions", type=int, default=16, help="questions a picture, beside its caption")
    parser.add_argument("--language-lr", type=float, default=2e-3)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
