"""Crowded scenes: signs and plates with codes, and objects with badges, on a cluttered ground.

What a question needs of such a picture lies in a few patches, and in others for every question.
"""

from __future__ import annotations

import random

from app.demo_model.lettering import DIGITS, LETTERS
from app.demo_model.scenes import (
    BACKGROUNDS,
    COLUMNS,
    ROWS,
    THINGS,
    Scene,
    SceneObject,
    random_box,
    random_scene,
)
from app.demo_model.shapes import COLORS, PLATE, SIGN

MOST_OBJECTS = ROWS * COLUMNS
SIGN_LENGTH, PLATE_LENGTH = 2, 3
_PLATE_SHARE, _OCCUPIED, _SIGN_SHARE, _BADGE_SHARE = 0.45, 0.85, 0.6, 0.6


def crowded_scene(seed: int, max_objects: int = MOST_OBJECTS) -> Scene:
    """A crowded scene, the same for the same seed; of its four to nine objects at most `max_objects` are left."""
    rng = random.Random(f"crowded-{seed}")
    colors = _Colors(rng)
    objects = [item for row in range(ROWS) for item in _row(rng, row, colors)]
    background, clutter = rng.randrange(BACKGROUNDS), rng.randrange(2**31)
    if len(objects) > max_objects:
        objects = sorted(rng.sample(objects, max_objects), key=lambda item: item.cell)
    return Scene(seed, tuple(objects), background, clutter)


def random_code(rng: random.Random, length: int) -> str:
    """A digit, then digits and letters of which no two letters touch: each is a token of its own to read."""
    code = rng.choice(tuple(DIGITS))
    while len(code) < length:
        after_letter = code[-1:] in LETTERS
        code += rng.choice(tuple(DIGITS)) if after_letter or rng.random() < 0.5 else rng.choice(tuple(LETTERS))
    return code


WORLDS = {"plain": random_scene, "crowded": crowded_scene}


def scene_of(number: int) -> Scene:
    """The scene that a number alone stands for, as in links: an odd number's is crowded, an even one's plain."""
    return WORLDS["crowded" if number % 2 else "plain"](number)


class _Colors:
    """Colours by turns, so that most signs have one of their own to be asked for by."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.left: dict[str, list[str]] = {}

    def draw(self, group: str) -> str:
        if not self.left.get(group):
            self.left[group] = self.rng.sample(tuple(COLORS), len(COLORS))
        return self.left[group].pop() if self.rng.random() < 0.85 else self.rng.choice(tuple(COLORS))


def _row(rng: random.Random, row: int, colors: _Colors) -> list[SceneObject]:
    cells = list(range(row * COLUMNS, (row + 1) * COLUMNS))
    found = []
    if rng.random() < _PLATE_SHARE:
        outer = rng.choice((0, COLUMNS - 1))
        covered = cells[:2] if outer == 0 else cells[1:]
        box = _plate_box(rng, row, covered[0] % COLUMNS)
        text = random_code(rng, PLATE_LENGTH)
        found.append(SceneObject(PLATE, colors.draw(PLATE), cells[outer], box, text=text, fine=True))
        cells = [cell for cell in cells if cell not in covered]
    for cell in cells:
        if rng.random() > _OCCUPIED:
            continue
        if rng.random() < _SIGN_SHARE:
            text = random_code(rng, SIGN_LENGTH)
            found.append(
                SceneObject(SIGN, colors.draw(SIGN), cell, random_box(rng, cell, 0.28, 0.32), text=text, fine=True)
            )
        else:
            badge = rng.choice(tuple(DIGITS)) if rng.random() < _BADGE_SHARE else ""
            corner = (rng.randrange(2), rng.randrange(2))
            box, mirrored = random_box(rng, cell, 0.27, 0.32), rng.random() < 0.5
            found.append(
                SceneObject(rng.choice(THINGS), colors.draw("thing"), cell, box, mirrored, "", badge, corner, fine=True)
            )
    return sorted(found, key=lambda item: item.cell)


def _plate_box(rng: random.Random, row: int, column: int) -> tuple[float, float, float, float]:
    width, height = rng.uniform(0.5, 0.56), rng.uniform(0.17, 0.2)
    left = column / COLUMNS + rng.random() * (2 / COLUMNS - width)
    top = row / ROWS + 0.03 + rng.random() * (1 / ROWS - height - 0.06)
    return left, top, left + width, top + height
