"""Stage 1: the vision tower alone, every patch learning what stands on it (dense labels, no language)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import CLIPVisionModel

from app.demo_model.architecture import VISION, vision_config, write_grid_positions
from app.demo_model.muon import make_optimizers, step_all, warmup_stable_decay
from app.demo_model.pictures_pool import TARGETS, PicturePool, easy_vqa_pool, joined, scene_pool
from app.demo_model.readouts import ReadOuts
from app.demo_model.training_loop import learn, train_steps

BACKGROUND_WEIGHT = 0.1
DIGIT_WEIGHT = 4.0
SIGN_CHANCE = 2.0  # so much more often than others is a picture with a sign drawn
CHECKPOINT_STEPS = 100
HELD_OUT_SEEDS = range(1_000_000_000, 1_000_000_400)


def patch_features(tower, pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, patches, width): the last layer without its class token, as LLaVA reads it."""
    return tower(pixels).last_hidden_state[:, 1:]


def dense_loss(logits: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy summed over the targets; background patches count little, they are most of the picture.

    Digits stand on one object in twelve: there they count more, or the tower reads them last.
    """
    weight = torch.where(labels["kind"] > 0, 1.0, BACKGROUND_WEIGHT)
    weight = weight / weight.sum()
    digits = torch.where(labels["units"] > 0, DIGIT_WEIGHT, 1.0)
    total = torch.zeros(())
    for name, scores in logits.items():
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), labels[name].flatten(), reduction="none")
        extra = digits.flatten() if name in ("tens", "units") else 1.0
        total = total + (loss * weight.flatten() * extra).sum()
    return total


@torch.no_grad()
def dense_accuracy(tower, heads: ReadOuts, pool: PicturePool) -> dict[str, float]:
    """Share of object patches that are right, per target, on held-out scenes."""
    right, objects = dict.fromkeys(TARGETS, 0), 0
    for start in range(0, len(pool.pixels), 50):
        part = np.arange(start, min(start + 50, len(pool.pixels)))
        on_object = pool.labels["kind"][part] > 0
        logits = heads(patch_features(tower, pool.batch(part)))
        objects += int(on_object.sum())
        for name, scores in logits.items():
            right[name] += int(((scores.argmax(-1).numpy() == pool.labels[name][part]) & on_object).sum())
    return {name: count / objects for name, count in right.items()}


def train_vision(folder: Path, *, steps: int, pictures: int, batch_size: int, lr: float, seed: int) -> None:
    """Train or resume; writes `vision.pt` in `folder` every 100 steps."""
    torch.manual_seed(seed)
    tower = CLIPVisionModel(vision_config())
    write_grid_positions(tower)
    heads = ReadOuts(VISION["hidden_size"], TARGETS)
    optimizers = make_optimizers([tower, heads], lr)
    trained = {"tower": tower, "heads": heads}
    _, scenes = scene_pool(range(seed * 10_000_000, seed * 10_000_000 + pictures))
    pool = joined(scenes, easy_vqa_pool("train")[1])
    chances = 1.0 + SIGN_CHANCE * (pool.labels["units"] > 0).any(1)
    chances /= chances.sum()
    _, held_out = scene_pool(HELD_OUT_SEEDS)

    def step(number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((seed, 1, number))
        indices = rng.choice(len(pool.pixels), batch_size, p=chances)
        labels = {name: torch.from_numpy(values[indices]).long() for name, values in pool.labels.items()}
        loss = dense_loss(heads(patch_features(tower, pool.batch(indices))), labels)
        learn(loss, trained)
        step_all(optimizers, lr * warmup_stable_decay(number, steps))
        return {"loss": loss}

    train_steps(folder / "vision.pt", trained, optimizers, steps, step,
                every=CHECKPOINT_STEPS, shares_right=lambda _: dense_accuracy(tower, heads, held_out))  # fmt: skip
