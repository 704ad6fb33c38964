"""What a step of stage 2 is shown and asked: pictures, questions, and what the pictures hold.

Every step draws from a random generator of its own, so that a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.demo_model.crowded import MOST_OBJECTS, crowded_scene
from app.demo_model.foreign import foreign_picture
from app.demo_model.labels import foreign_labels
from app.demo_model.lookups import OneShape
from app.demo_model.pictures_pool import (
    PicturePool,
    drawn_pool,
    easy_vqa_facts,
    easy_vqa_pool,
    easy_vqa_questions,
    joined,
    stacked,
)
from app.demo_model.questions import KINDS, UNKNOWN_ANSWER, Question, as_typed, ask, caption
from app.demo_model.scenes import MAX_OBJECTS, Scene, random_scene

Turns = list[tuple[str, str]]  # (question, answer) pairs of one picture

# How often each kind is asked: what needs more than a look-up is asked more.
PLAIN_WEIGHTS = {"color": 1, "what is at": 2.5, "where": 2, "count all": 2.5, "count some": 4, "presence": 2.5,
                 "relation": 3, "number": 3, "absent": 1.5, "unknown": 1.5}  # fmt: skip
CROWDED_WEIGHTS = {"read by color": 6, "read by place": 6, "badge": 2, "color": 0.7, "what is at": 2.5, "where": 1,
                   "presence": 1, "absent": 1.5, "unknown": 0.5}  # fmt: skip
CAPTION_CHANCE = {"plain": 0.9, "crowded": 0.3}  # what crowded scenes hold is never asked for as a whole


@dataclass(frozen=True)
class Phase:
    """What pictures are drawn until a step: the most objects of a scene (one of `most` at random), and the share of
    plain scenes. A tenth are easy-VQA's, a twentieth pictures of nothing that is known, the others crowded scenes."""

    until: float
    most: tuple[int, ...]
    plain: float

    @property
    def shares(self) -> dict[str, float]:
        return {"crowded": 0.85 - self.plain, "plain": self.plain, "easy": 0.1, "foreign": 0.05}


# Reading is learnt sooner where few things stand here and there, and before counts and descriptions.
CURRICULUM = (
    Phase(200, (1, 2, MOST_OBJECTS), plain=0.2),
    Phase(500, (2, MOST_OBJECTS, MOST_OBJECTS), plain=0.2),
    Phase(1800, (MOST_OBJECTS,), plain=0.4),
    Phase(math.inf, (MOST_OBJECTS,), plain=0.5),
)


def phase_at(step: int) -> Phase:
    return next(phase for phase in CURRICULUM if step < phase.until)


def questions_of(scene: Scene, rng: random.Random, count: int, weights: Mapping[str, float] | None = None) -> Turns:
    """`count` questions, kinds drawn by weight, and now and then a caption before them."""
    weights = weights or (CROWDED_WEIGHTS if scene.is_crowded else PLAIN_WEIGHTS)
    chance = CAPTION_CHANCE["crowded" if scene.is_crowded else "plain"]
    questions: list[Question | None] = [caption(scene, rng)] if rng.random() < chance else []
    questions += [ask(kind, scene, rng) for kind in rng.choices(tuple(weights), tuple(weights.values()), k=count)]
    turns = [(question.text, question.answer) for question in questions if question is not None]
    return turns or questions_of(scene, rng, count, weights)


def held_out_questions(scenes: list[Scene], seed: int = 7) -> list[list[tuple[str, str, str]]]:
    """(kind, question, answer) of one question of every kind for each scene."""
    rng = random.Random(seed)
    asked = [[ask(kind, scene, rng) for kind in KINDS] for scene in scenes]
    return [[(q.kind, q.text, q.answer) for q in questions if q is not None] for questions in asked]


class EasyVqaQuestions:
    """easy-VQA's training split: pictures with labels of their patches, and questions."""

    def __init__(self) -> None:
        ids, self.pool = easy_vqa_pool("train")
        facts, row_of = easy_vqa_facts("train"), {picture: row for row, picture in enumerate(ids)}
        self.shapes = [OneShape(*facts[picture]) for picture in ids]
        self.turns: dict[int, Turns] = defaultdict(list)
        for question, answer, picture in easy_vqa_questions("train"):
            self.turns[row_of[picture]].append((question, answer))
        self.rows = tuple(self.turns)

    def sample(self, rng: random.Random, count: int, questions: int) -> tuple[list[int], list[OneShape], list[Turns]]:
        """Rows of the pool, what they show, and their turns."""
        rows = [rng.choice(self.rows) for _ in range(count)]
        turns = [rng.sample(self.turns[row], min(questions, len(self.turns[row]))) for row in rows]
        return rows, [self.shapes[row] for row in rows], turns


class Batches:
    """Draws what one step shows: new scenes, some pictures of easy-VQA, and some of nothing that is known."""

    def __init__(self, seed: int, batch_size: int, questions: int) -> None:
        self.seed, self.questions, self.size = seed, questions, batch_size
        self.easy = EasyVqaQuestions()

    def draw(self, rng: random.Random, phase: Phase) -> tuple[PicturePool, list[Scene | OneShape | None], list[Turns]]:
        """(pictures with labels, what each shows, its turns)."""
        kinds = rng.choices(tuple(phase.shares), tuple(phase.shares.values()), k=self.size)
        numbers = [self.seed * 10_000_000 + rng.randrange(10_000_000) for _ in kinds]
        scenes: list[Scene] = [
            crowded_scene(number, rng.choice(phase.most))
            if kind == "crowded"
            else random_scene(number, min(rng.choice(phase.most), MAX_OBJECTS))
            for kind, number in zip(kinds, numbers, strict=True)
            if kind in ("crowded", "plain")
        ] or [crowded_scene(numbers[0], rng.choice(phase.most))]
        scene_turns = [questions_of(scene, rng, self.questions) for scene in scenes]
        shown: list[Scene | OneShape | None] = [*scenes]
        pools, turns = [drawn_pool(scenes)], [*scene_turns]
        if count := kinds.count("easy"):
            rows, shapes, easy_turns = self.easy.sample(rng, count, self.questions)
            pools.append(self.easy.pool.rows(rows))
            shown += shapes
            turns += easy_turns
        if count := kinds.count("foreign"):
            pictures = [np.asarray(foreign_picture(number)) for number in numbers[:count]]
            pools.append(stacked(pictures, [foreign_labels()] * count))
            shown += [None] * count
            asked = [text for pairs in turns for text, _ in pairs]
            turns += [[(as_typed(rng.choice(asked), rng), UNKNOWN_ANSWER) for _ in range(4)] for _ in range(count)]
        return joined(*pools), shown, turns
