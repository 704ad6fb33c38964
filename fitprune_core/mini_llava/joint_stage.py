"""Stage 3: tower, projector and decoder learn together, every patch a token of its own, every step on new scenes.

The tower keeps its lesson of stage 1, every patch learning what stands on it: what decides between a 5 and a 9 is in
the picture, and no decoder can answer what the tower did not read.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from fitprune_core.mini_llava.architecture import DECODER, VISION
from fitprune_core.mini_llava.batches import (
    EasyVqaQuestions,
    drawn_pool,
    held_out_questions,
    questions_of,
    scene_with_sign_often,
)
from fitprune_core.mini_llava.checkpoints import load_state, save_state
from fitprune_core.mini_llava.language_stage import CHECKPOINT_STEPS, MATRIX_SCALE, accuracy, language_loss, report
from fitprune_core.mini_llava.lookups import Lessons
from fitprune_core.mini_llava.muon import make_optimizers, step_all, warmup_stable_decay
from fitprune_core.mini_llava.packing import pack
from fitprune_core.mini_llava.pictures_pool import TARGETS, joined, scene_pool
from fitprune_core.mini_llava.readouts import ReadOuts
from fitprune_core.mini_llava.text import Encoder
from fitprune_core.mini_llava.vision_stage import HELD_OUT_SEEDS, dense_loss, patch_features

# What stage 2 learns last is asked most.
KIND_WEIGHTS = {"color": 1, "what is at": 1.5, "where": 2, "count all": 1, "count some": 4, "presence": 3,
                "relation": 6, "number": 2.5, "describe": 0, "absent": 1.5, "unknown": 1.5}  # fmt: skip
EASY_VQA_SHARE = 1 / 6
DENSE_WEIGHT = 0.25
HEADS_ALONE = 150  # steps in which the new read-outs of patches learn without moving the tower
# The tower has learnt with smaller updates, and forgets what it reads under larger ones; read-outs begin anew.
TOWER_LR, READ_OUT_LR = 0.25, 3.0  # times the decoder's
TOWER_MATRIX_SCALE = 0.2
DECAY = 0.4


class _Batches:
    """Draws what one step shows: new scenes and some pictures of easy-VQA."""

    def __init__(self, seed: int, batch_size: int, questions: int) -> None:
        self.seed, self.questions = seed, questions
        self.from_easy = round(batch_size * EASY_VQA_SHARE)
        self.from_scenes = batch_size - self.from_easy
        self.easy = EasyVqaQuestions(labelled_only=True)

    def draw(self, step: int):
        """(pool, what each picture shows, the turns of each picture)."""
        rng = random.Random(f"{self.seed}-joint-{step}")
        scenes = [scene_with_sign_often(rng, self.seed) for _ in range(self.from_scenes)]
        turns = [questions_of(scene, rng, self.questions, KIND_WEIGHTS) for scene in scenes]
        rows, shapes, easy_turns = self.easy.sample(rng, self.from_easy, self.questions)
        pool = joined(drawn_pool(scenes), self.easy.pool.rows(rows))
        return pool, [*scenes, *shapes], turns + easy_turns


def train_joint(folder: Path, tokenizer, model, *, steps: int, batch_size: int, questions: int, lr: float, seed: int,
                on_checkpoint=None) -> nn.Module:  # fmt: skip
    """Train the whole model, or resume; writes `joint.pt` now and then and calls `on_checkpoint(model)`."""
    torch.manual_seed(seed)
    model.requires_grad_(True)
    tower = model.model.vision_tower
    lessons, heads = Lessons(DECODER["hidden_size"]), ReadOuts(VISION["hidden_size"], TARGETS)
    trained = {"model": model.model, "lessons": lessons, "heads": heads}
    groups = {
        1.0: make_optimizers([model.model.language_model, model.model.multi_modal_projector], lr, MATRIX_SCALE),
        TOWER_LR: make_optimizers([tower], lr, TOWER_MATRIX_SCALE),
        READ_OUT_LR: make_optimizers([lessons, heads], lr),
    }
    optimizers = [optimizer for group in groups.values() for optimizer in group]
    first = load_state(folder / "joint.pt", trained, optimizers)
    encoder, image_token = Encoder(tokenizer), model.config.image_token_id
    batches = _Batches(seed, batch_size, questions)
    held_scenes, held_pool = scene_pool(HELD_OUT_SEEDS[:150])
    held_asked = held_out_questions(held_scenes)
    parameters = [p for module in trained.values() for p in module.parameters()]
    progress = tqdm(range(first, steps), initial=first, total=steps, desc="joint")
    for step in progress:
        pool, shown, turns = batches.draw(step)
        features = patch_features(tower, pool.batch(slice(None)))
        loss, lesson_loss = language_loss(
            model, lessons, pack(encoder, turns, features.shape[1], image_token, shown), features
        )
        labels = {name: torch.from_numpy(values).long() for name, values in pool.labels.items()}
        dense = dense_loss(heads(features.detach() if step < HEADS_ALONE else features), labels)
        (loss + lesson_loss + DENSE_WEIGHT * dense).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for share, group in groups.items():
            step_all(group, share * lr * warmup_stable_decay(step, steps, decay=DECAY))
        progress.set_postfix(
            loss=f"{loss.item():.3f}", lessons=f"{lesson_loss.item():.3f}", dense=f"{dense.item():.3f}"
        )
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
            save_state(folder / "joint.pt", trained, optimizers, step + 1)
            with torch.no_grad():
                parts = np.array_split(np.arange(len(held_scenes)), 10)
                held = torch.cat([patch_features(tower, held_pool.batch(part)) for part in parts])
            report("joint", step + 1, loss, accuracy(model, encoder, held, held_asked))
            if on_checkpoint:
                on_checkpoint(model)
    return model
