"""Stage 2: projector and decoder learn to answer, on the frozen tower's features of a pool of pictures."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from app.demo_model.architecture import DECODER
from app.demo_model.batches import EasyVqaQuestions, SceneQuestions, cached_features, held_out_questions
from app.demo_model.lookups import Lessons
from app.demo_model.muon import make_optimizers, step_all, warmup_stable_decay
from app.demo_model.packing import PackedBatch, answer_logits, pack, pool_patches, right_answers
from app.demo_model.pictures_pool import scene_pool
from app.demo_model.text import Encoder
from app.demo_model.training_loop import learn, train_steps
from app.demo_model.vision_stage import HELD_OUT_SEEDS

# (share of the run, most objects a scene may have): first read one object, then choose among several.
CURRICULUM = ((0.03, 1), (0.36, 2), (0.5, 4))
MATRIX_SCALE = 0.5
DECAY = 0.2
EASY_VQA_SHARE = 1 / 8
CHECKPOINT_STEPS = 200


def max_objects_at(progress: float) -> int:
    return next((most for share, most in CURRICULUM if progress < share), 99)


def language_loss(
    model, lessons: Lessons, batch: PackedBatch, features: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
    """The answers' loss, each answer weighted by the root of its length, that of the lessons, and the states.

    features: of the tower, (B, patches, width). The states enter the decoder's layers, (B, T, width) each.
    """
    logits, asked, states = answer_logits(model, batch, features)
    losses = nn.functional.cross_entropy(logits, batch.targets[asked], reduction="none")
    weights = batch.weights[asked]
    return (losses * weights).sum() / weights.sum(), lessons.loss(states, batch.facts, batch.is_late), states


@torch.no_grad()
def accuracy(
    model, encoder: Encoder, features: torch.Tensor, asked: list[list[tuple[str, str, str]]]
) -> dict[str, float]:
    """Share of exact greedy answers by kind: `asked[b]` holds (kind, question, answer) of the picture `features[b]`."""
    tally: dict[str, list[int]] = defaultdict(list)
    image_token = model.config.image_token_id
    for start in range(0, len(asked), 16):
        part = asked[start : start + 16]
        batch = pack(encoder, [[turn[1:] for turn in turns] for turns in part], features.shape[1], image_token)
        logits, mask, _ = answer_logits(model, batch, features[start : start + 16].float())
        right = right_answers(logits, mask, batch).tolist()
        for (kind, *_), hit in zip((turn for turns in part for turn in turns), right, strict=True):
            tally[kind].append(hit)
    return {kind: sum(hits) / len(hits) for kind, hits in sorted(tally.items())}


def train_language(folder: Path, tokenizer, model, *, steps: int, pooled_steps: int, pictures: int, batch_size: int,
                   questions: int, lr: float, seed: int, on_checkpoint: Callable[[], None]) -> None:  # fmt: skip
    """Train projector and decoder, or resume; writes `language.pt` now and then and calls `on_checkpoint`.

    The first `pooled_steps` see 2 x 2-pooled features, a quarter of the visual tokens.
    """
    tower = model.model.vision_tower.eval().requires_grad_(False)
    lessons = Lessons(DECODER["hidden_size"])
    trained = {"decoder": model.model.language_model, "projector": model.model.multi_modal_projector,
               "lessons": lessons}  # fmt: skip
    optimizers = make_optimizers(list(trained.values()), lr, MATRIX_SCALE)
    encoder, image_token = Encoder(tokenizer), model.config.image_token_id
    scenes = SceneQuestions(tower, range(seed * 10_000_000, seed * 10_000_000 + pictures))
    easy = EasyVqaQuestions(labelled_only=False)
    easy_features = cached_features(tower, easy.pool)
    held_scenes, held_pool = scene_pool(HELD_OUT_SEEDS[:150])
    held_features, held_asked = cached_features(tower, held_pool).float(), held_out_questions(held_scenes)
    from_easy = round(batch_size * EASY_VQA_SHARE)

    def resized(number: int, features: torch.Tensor) -> torch.Tensor:
        return pool_patches(features) if number < pooled_steps else features

    def step(number: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{seed}-language-{number}")
        shown, turns, features = scenes.sample(rng, batch_size - from_easy, max_objects_at(number / steps), questions)
        rows, shapes, easy_turns = easy.sample(rng, from_easy, questions)
        features = resized(number, torch.cat([features, easy_features[rows].float()]))
        batch = pack(encoder, turns + easy_turns, features.shape[1], image_token, [*shown, *shapes])
        loss, lesson_loss, _ = language_loss(model, lessons, batch, features)
        learn(loss + lesson_loss, trained)
        step_all(optimizers, lr * warmup_stable_decay(number, steps, decay=DECAY))
        return {"loss": loss, "lessons": lesson_loss}

    def shares_right(done: int) -> dict[str, float]:
        return accuracy(model, encoder, resized(done - 1, held_features), held_asked)

    train_steps(folder / "language.pt", trained, optimizers, steps, step,
                every=CHECKPOINT_STEPS, shares_right=shares_right, on_checkpoint=on_checkpoint)  # fmt: skip
