"""What a training step of stage 2 or 3 is shown and asked: pictures, questions, and what the pictures hold.

Every step draws from a random generator of its own, so that a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from tqdm import tqdm

from app.demo_model.lookups import OneShape
from app.demo_model.pictures_pool import (
    TARGETS,
    PicturePool,
    easy_vqa_facts,
    easy_vqa_pool,
    easy_vqa_questions,
    scene_labels,
    scene_pool,
)
from app.demo_model.questions import KINDS, ask
from app.demo_model.scenes import Scene, random_scene
from app.demo_model.shapes import SIGN
from app.demo_model.vision_stage import patch_features

Turns = list[tuple[str, str]]  # (question, answer) pairs of one picture

# How often each kind is asked: what needs more than a look-up is asked more.
KIND_WEIGHTS = {"color": 2, "what is at": 2, "where": 3, "count all": 1.5, "count some": 3, "presence": 2.5,
                "relation": 3, "number": 2, "describe": 0, "absent": 1, "unknown": 1.5}  # fmt: skip


def questions_of(scene: Scene, rng: random.Random, count: int, weights: Mapping[str, float] = KIND_WEIGHTS) -> Turns:
    """A caption and `count` questions, kinds drawn by weight."""
    caption = ask("describe", scene, rng)
    turns = [(caption.text, caption.answer)]
    kinds = rng.choices(tuple(weights), tuple(weights.values()), k=count)
    for kind in kinds:
        question = ask(kind, scene, rng)
        if question is not None:
            turns.append((question.text, question.answer))
    return turns


def held_out_questions(scenes: list[Scene], seed: int = 7) -> list[list[tuple[str, str, str]]]:
    """(kind, question, answer) of one question of every kind for each scene."""
    rng = random.Random(seed)
    asked = []
    for scene in scenes:
        questions = [ask(kind, scene, rng) for kind in KINDS]
        asked.append([(q.kind, q.text, q.answer) for q in questions if q is not None])
    return asked


@torch.no_grad()
def cached_features(tower, pool: PicturePool) -> torch.Tensor:
    """(P, patches, width) in half precision: the frozen tower runs once a picture."""
    parts = [
        patch_features(tower, pool.batch(np.arange(start, min(start + 64, len(pool.pixels))))).half()
        for start in tqdm(range(0, len(pool.pixels), 64), desc="features")
    ]
    return torch.cat(parts)


class SceneQuestions:
    """Stage 2's scenes, whose features are cached."""

    def __init__(self, tower, seeds: range):
        self.scenes, pool = scene_pool(seeds)
        self.features = cached_features(tower, pool)
        self.by_count = np.array([len(scene.objects) for scene in self.scenes])

    def sample(self, rng: random.Random, count: int, max_objects: int, questions: int):
        """Scenes of at most so many objects, their turns, and features (count, patches, width)."""
        allowed = np.flatnonzero(self.by_count <= max_objects)
        chosen = [int(allowed[rng.randrange(len(allowed))]) for _ in range(count)]
        scenes = [self.scenes[i] for i in chosen]
        return scenes, [questions_of(scene, rng, questions) for scene in scenes], self.features[chosen].float()


class EasyVqaQuestions:
    """easy-VQA's training split: pictures with labels of their patches, and questions."""

    def __init__(self, labelled_only: bool):
        ids, self.pool = easy_vqa_pool("train", labelled_only)
        facts, row_of = easy_vqa_facts("train"), {picture: row for row, picture in enumerate(ids)}
        self.shapes = [OneShape(*facts[picture]) for picture in ids]
        self.turns: dict[int, Turns] = defaultdict(list)
        for question, answer, picture in easy_vqa_questions("train"):
            if picture in row_of:
                self.turns[row_of[picture]].append((question, answer))
        self.rows = tuple(self.turns)

    def sample(self, rng: random.Random, count: int, questions: int) -> tuple[list[int], list[OneShape], list[Turns]]:
        """Rows of the pool, what they show, and their turns."""
        rows = [rng.choice(self.rows) for _ in range(count)]
        turns = [rng.sample(self.turns[row], min(questions, len(self.turns[row]))) for row in rows]
        return rows, [self.shapes[row] for row in rows], turns


def scene_with_sign_often(rng: random.Random, seed: int) -> Scene:
    """A scene that holds a sign more often than others do: digits are what the tower reads last."""
    scene = random_scene(seed * 10_000_000 + rng.randrange(10_000_000))
    if not any(item.kind == SIGN for item in scene.objects) and rng.random() < 0.4:
        scene = random_scene(seed * 10_000_000 + rng.randrange(10_000_000))
    return scene


def drawn_pool(scenes: list[Scene]) -> PicturePool:
    """Scenes as pictures and labels."""
    labels = [scene_labels(scene) for scene in scenes]
    stacked = {name: np.stack([label[name] for label in labels]) for name in TARGETS}
    return PicturePool(np.stack([np.asarray(scene.draw()) for scene in scenes]), stacked)
