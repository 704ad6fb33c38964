"""Stage 3: tower, projector and decoder learn together, every patch a token of its own, every step on new scenes.

The tower keeps its lesson of stage 1, every patch learning what stands on it: what decides between a 5 and a 9 is in
the picture, and no decoder can answer what the tower did not read.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from app.demo_model.architecture import DECODER, VISION
from app.demo_model.attention_lesson import attention_loss
from app.demo_model.batches import (
    EasyVqaQuestions,
    drawn_pool,
    held_out_questions,
    questions_of,
    scene_with_sign_often,
)
from app.demo_model.language_stage import CHECKPOINT_STEPS, MATRIX_SCALE, accuracy, language_loss
from app.demo_model.lookups import Lessons
from app.demo_model.muon import make_optimizers, step_all, warmup_stable_decay
from app.demo_model.packing import pack
from app.demo_model.pictures_pool import TARGETS, joined, scene_pool
from app.demo_model.readouts import ReadOuts
from app.demo_model.text import Encoder
from app.demo_model.training_loop import learn, train_steps
from app.demo_model.vision_stage import HELD_OUT_SEEDS, dense_loss, patch_features

# What stage 2 learns last is asked most.
KIND_WEIGHTS = {"color": 1, "what is at": 1.5, "where": 2, "count all": 1, "count some": 4, "presence": 3,
                "relation": 6, "number": 2.5, "describe": 0, "absent": 1.5, "unknown": 1.5}  # fmt: skip
EASY_VQA_SHARE = 1 / 6
DENSE_WEIGHT, ATTENTION_WEIGHT = 0.25, 0.3
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

    def draw(self, rng: random.Random):
        """(pool, what each picture shows, the turns of each picture)."""
        scenes = [scene_with_sign_often(rng, self.seed) for _ in range(self.from_scenes)]
        turns = [questions_of(scene, rng, self.questions, KIND_WEIGHTS) for scene in scenes]
        rows, shapes, easy_turns = self.easy.sample(rng, self.from_easy, self.questions)
        pool = joined(drawn_pool(scenes), self.easy.pool.rows(rows))
        return pool, [*scenes, *shapes], turns + easy_turns


def train_joint(folder: Path, tokenizer, model, *, steps: int, batch_size: int, questions: int, lr: float, seed: int,
                on_checkpoint: Callable[[], None]) -> None:  # fmt: skip
    """Train the whole model, or resume; writes `joint.pt` now and then and calls `on_checkpoint`."""
    torch.manual_seed(seed)
    model.requires_grad_(True)
    tower, decoder, projector = model.model.vision_tower, model.model.language_model, model.model.multi_modal_projector
    lessons, heads = Lessons(DECODER["hidden_size"]), ReadOuts(VISION["hidden_size"], TARGETS)
    trained = {"model": model.model, "lessons": lessons, "heads": heads}
    groups = {
        1.0: make_optimizers([decoder, projector], lr, MATRIX_SCALE),
        TOWER_LR: make_optimizers([tower], lr, TOWER_MATRIX_SCALE),
        READ_OUT_LR: make_optimizers([lessons, heads], lr),
    }
    encoder, image_token = Encoder(tokenizer), model.config.image_token_id
    batches = _Batches(seed, batch_size, questions)
    held_scenes, held_pool = scene_pool(HELD_OUT_SEEDS[:150])
    held_asked = held_out_questions(held_scenes)

    def step(number: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{seed}-joint-{number}")
        pool, shown, turns = batches.draw(rng)
        features = patch_features(tower, pool.batch(slice(None)))
        batch = pack(encoder, turns, features.shape[1], image_token, shown)
        loss, lesson_loss, states = language_loss(model, lessons, batch, features)
        labels = {name: torch.from_numpy(values).long() for name, values in pool.labels.items()}
        dense = dense_loss(heads(features.detach() if number < HEADS_ALONE else features), labels)
        attention = attention_loss(decoder, batch, states, labels["kind"] > 0, rng)
        learn(loss + lesson_loss + DENSE_WEIGHT * dense + ATTENTION_WEIGHT * attention, trained)
        for share, group in groups.items():
            step_all(group, share * lr * warmup_stable_decay(number, steps, decay=DECAY))
        return {"loss": loss, "lessons": lesson_loss, "dense": dense, "attention": attention}

    def shares_right(_: int) -> dict[str, float]:
        with torch.no_grad():
            parts = np.array_split(np.arange(len(held_scenes)), 10)
            held = torch.cat([patch_features(tower, held_pool.batch(part)) for part in parts])
        return accuracy(model, encoder, held, held_asked)

    optimizers = [optimizer for group in groups.values() for optimizer in group]
    train_steps(folder / "joint.pt", trained, optimizers, steps, step,
                every=CHECKPOINT_STEPS, shares_right=shares_right, on_checkpoint=on_checkpoint)  # fmt: skip
