"""The questions of mini-llava's own evaluation, whose answers ship with it, and the scenes that they are about."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from app.demo_model.evaluate import held_out
from app.demo_model.samples import picture_file
from app.demo_model.scenes import Scene
from app.engine import Engine
from fitprune_core.evaluation.known import EVALUATION
from fitprune_core.recipes.published import RECIPES

_NAME = re.compile("test-(0|[1-9][0-9]{0,3})")
_SCENES = 1_000  # four times those of the evaluation; a quarter of a second, since nothing is drawn


def evaluation_of(engine: Engine) -> Path | None:
    """The answers that ship with the embedded model; None for another one."""
    path = RECIPES / engine.model_name / EVALUATION
    return path if engine.is_demo and path.is_file() else None


def find_evaluated(name: str, picture: str, question: str, answer: str) -> Scene | None:
    """The scene that a row of the evaluation is about, by all that the row says; None where it is none of them.

    name: its id, "test-17"; picture: the file of its picture, in whatever folder.
    """
    found = _NAME.fullmatch(name)
    asked = _asked() if found else ()
    number = int(found[1]) if found else 0
    if number >= len(asked):
        return None
    scene, *told = asked[number]
    return scene if told == [picture.rpartition("/")[2], question, answer] else None


@lru_cache(maxsize=1)
def _asked() -> tuple[tuple[Scene, str, str, str], ...]:
    """Scene, picture, question and answer of each row, as `scene_items` has them; no scene is drawn."""
    rows: list[tuple[Scene, str, str, str]] = []
    for number in range(_SCENES):
        scene, questions = held_out(number)
        picture = picture_file(len(rows))
        rows += [(scene, picture, each.text, each.answer) for _, each in questions]
    return tuple(rows)
