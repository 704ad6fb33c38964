"""Train mini-llava from nothing: `python -m app.demo_model.train --run runs/mini-llava`.

Seeded and resumable: a killed run goes on from its last checkpoint when the same command is given again. Stage 1
teaches the vision tower with dense labels, stage 2 everything together with questions and answers. Visual tokens are
never dropped in training: what pruning does to a model that was not made for it is the point of this model. Needs the
package `easy-vqa`, whose training split is part of the data.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from app.demo_model.architecture import build_model
from app.demo_model.checkpoints import load_state, steps_done
from app.demo_model.language_stage import train_language
from app.demo_model.pictures_pool import easy_vqa_questions
from app.demo_model.text import build_processor, train_tokenizer
from app.demo_model.transplant import draw_partly_anew, keep_first_layers, take_decoder
from app.demo_model.vision_stage import train_vision
from fitprune_core.models.loading import load_model

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(), logging.FileHandler(args.run / "train.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    if args.start_from is not None:
        model, processor = load_model(str(args.start_from))
        if args.decoder_layers is not None:
            keep_first_layers(model, args.decoder_layers)
        if args.draw_anew is not None:
            draw_partly_anew(model, args.draw_anew, args.seed)
        tokenizer = processor.tokenizer
    else:
        model, tokenizer = begun_model(args)
    train_language(args.run, tokenizer, model, steps=args.steps, batch_size=args.batch, questions=args.questions,
                   lr=args.lr, seed=args.seed, tower_waits=args.tower_waits, bfloat16=args.bfloat16,
                   curriculum=args.start_from is None,
                   on_checkpoint=lambda: export(model, tokenizer, args.run / "checkpoint"))  # fmt: skip


def begun_model(args: argparse.Namespace):
    """(model, tokenizer) as stage 2 begins with them, after stage 1; a stage 2 that has begun reads its own weights."""
    begun = (args.run / "language.pt").exists()
    if not begun and steps_done(args.run / "vision.pt") < args.vision_steps:
        train_vision(args.run, steps=args.vision_steps, batch_size=args.vision_batch, lr=args.vision_lr, seed=args.seed)
    if args.decoder_from is not None:
        finished, processor = load_model(str(args.decoder_from))
        tokenizer = processor.tokenizer
    else:
        tokenizer = run_tokenizer(args.run, args.seed)
    torch.manual_seed(args.seed)
    model = build_model(tokenizer)
    if not begun:
        load_state(args.run / "vision.pt", {"tower": model.model.vision_tower}, [])
        if args.decoder_from is not None:
            take_decoder(model, finished, args.seed)
    return model, tokenizer


def run_tokenizer(run: Path, seed: int):
    """The run's tokenizer: trained once, then read, because a resumed decoder only knows the first one's ids."""
    folder = run / "tokenizer"
    if not folder.exists():
        questions = tuple(question for question, _, _ in easy_vqa_questions("train")[:2000])
        train_tokenizer(seed, extra=questions).save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def export(model, tokenizer, folder: Path) -> None:
    """Save model and processor in the Hub's layout; float16 on disk halves the file, the model stays as it is."""
    # The output head is the embedding: saved once.
    state = {name: value.half() for name, value in model.state_dict().items() if not name.startswith("lm_head")}
    model.save_pretrained(folder, state_dict=state)
    build_processor(tokenizer).save_pretrained(folder)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoints and logs")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other scenes")
    parser.add_argument("--start-from", type=Path, help="a finished model to train further: stage 2 alone")
    parser.add_argument("--decoder-layers", type=int, metavar="N", help="with --start-from: keep its first N layers")
    about = "with --start-from: so much of its decoder is drawn anew by --seed, which makes another one of it"
    parser.add_argument("--draw-anew", type=float, metavar="SHARE", help=about)
    parser.add_argument("--decoder-from", type=Path, help="a finished model whose decoder stage 2 begins with")
    parser.add_argument("--bfloat16", action="store_true", help="faster where the processor multiplies in it")
    parser.add_argument("--vision-steps", type=int, default=1500)
    parser.add_argument("--vision-batch", type=int, default=24, help="pictures a step of stage 1")
    parser.add_argument("--vision-lr", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=8000, help="steps of stage 2")
    parser.add_argument("--tower-waits", type=int, default=2000, help="steps of stage 2 before the tower learns too")
    parser.add_argument("--lr", type=float, default=1e-3, help="largest learning rate of stage 2")
    parser.add_argument("--batch", type=int, default=8, help="pictures a step of stage 2")
    parser.add_argument("--questions", type=int, default=14, help="questions a picture, beside its caption")
    args = parser.parse_args(argv)
    for option in ("decoder_layers", "draw_anew"):
        if (value := getattr(args, option)) is not None and args.start_from is None:
            parser.error(f"--{option.replace('_', '-')} {value} goes with --start-from, whose decoder it changes")
    return args


if __name__ == "__main__":
    main()
