"""Stage 1: the vision tower alone, every patch learning what covers it (dense labels, no language)."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from torch import nn

from app.demo_model.architecture import VISION, build_tower, keep_local, patch_features
from app.demo_model.crowded import crowded_scene
from app.demo_model.labels import NOT_ASKED, TARGETS
from app.demo_model.muon import make_optimizers, step_all, warmup_stable_decay
from app.demo_model.pictures_pool import PicturePool, drawn_pool, easy_vqa_pool, joined
from app.demo_model.readouts import ReadOuts
from app.demo_model.scenes import Scene, random_scene
from app.demo_model.training_loop import learn, train_steps

GROUND_WEIGHT = 0.1
CHARACTER_WEIGHT = 3.0
CROWDED_SHARE, EASY_VQA_SHARE = 0.6, 0.1
CHECKPOINT_STEPS = 100
HELD_OUT_SEEDS = range(1_000_000_000, 1_000_000_100)


def dense_loss(scores: dict[str, torch.Tensor], labels: dict[str, np.ndarray]) -> torch.Tensor:
    """Cross-entropy summed over the targets.

    Empty ground counts little, it is most of the picture; characters, which are fewest and hardest, count more.
    """
    on_object = torch.from_numpy((labels["edge"] > 0) | (labels["part"] > 0))
    total = torch.zeros(())
    for name, values in scores.items():
        target = torch.from_numpy(labels[name]).long()
        weight = torch.where(on_object, 1.0, GROUND_WEIGHT)
        if name == "character":
            weight = torch.where((target > 0) & (target != NOT_ASKED), CHARACTER_WEIGHT, weight)
        losses = nn.functional.cross_entropy(
            values.flatten(0, 1), target.flatten(), reduction="none", ignore_index=NOT_ASKED
        )
        total = total + (losses * weight.flatten()).sum() / weight.sum()
    return total


@torch.no_grad()
def dense_accuracy(tower, heads: ReadOuts, pool: PicturePool) -> dict[str, float]:
    """Share of the patches that have a label (other than "nothing") which are right, per target."""
    right, asked = dict.fromkeys(TARGETS, 0), dict.fromkeys(TARGETS, 0)
    for start in range(0, len(pool.pixels), 50):
        part = np.arange(start, min(start + 50, len(pool.pixels)))
        for name, scores in heads(patch_features(tower, pool.batch(part))).items():
            wanted = pool.labels[name][part]
            here = (wanted > 0) & (wanted != NOT_ASKED)
            asked[name] += int(here.sum())
            right[name] += int(((scores.argmax(-1).numpy() == wanted) & here).sum())
    return {name: right[name] / asked[name] for name in TARGETS}


def drawn_scene(rng: random.Random, seed: int, crowded_share: float = CROWDED_SHARE) -> Scene:
    """A scene of the seeds that belong to a run's seed: crowded or plain."""
    number = seed * 10_000_000 + rng.randrange(10_000_000)
    return crowded_scene(number) if rng.random() < crowded_share else random_scene(number)


def train_vision(folder: Path, *, steps: int, batch_size: int, lr: float, seed: int) -> None:
    """Train or resume; writes `vision.pt` in `folder` every 100 steps."""
    torch.manual_seed(seed)
    tower = build_tower()
    heads = ReadOuts(VISION["hidden_size"], TARGETS)
    optimizers = make_optimizers([tower, heads], lr)
    trained = {"tower": tower, "heads": heads}
    _, easy = easy_vqa_pool("train")
    from_easy = round(EASY_VQA_SHARE * batch_size)
    held_out = drawn_pool([make(number) for number in HELD_OUT_SEEDS for make in (crowded_scene, random_scene)])

    def step(number: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{seed}-vision-{number}")
        scenes = [drawn_scene(rng, seed) for _ in range(batch_size - from_easy)]
        pool = joined(drawn_pool(scenes), easy.rows(rng.sample(range(len(easy.pixels)), from_easy)))
        loss = dense_loss(heads(patch_features(tower, pool.batch(slice(None)))), pool.labels)
        learn(loss, trained)
        step_all(optimizers, lr * warmup_stable_decay(number, steps))
        keep_local(tower)
        return {"loss": loss}

    train_steps(folder / "vision.pt", trained, optimizers, steps, step,
                every=CHECKPOINT_STEPS, shares_right=lambda _: dense_accuracy(tower, heads, held_out))  # fmt: skip
