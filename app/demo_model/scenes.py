"""Scenes that mini-llava was trained on: objects, signs and plates on a three-by-three layout, drawn from a seed.

A scene is data first (`Scene.objects`) and a picture second (`Scene.draw`), so that the true answer to every question
about it is known, at any drawing size. Plain scenes hold one to six objects on an empty ground; crowded ones
(`crowded.py`) are full of signs with codes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from app.demo_model.drawing import draw_scene
from app.demo_model.lettering import Box
from app.demo_model.shapes import COLORS, PLATE, SHAPES, SIGN

COLUMNS = ROWS = 3
MODEL_SIZE = 192  # pixels a side of what the model sees
MAX_OBJECTS = 6  # of a plain scene
SQUARES = 16  # a side: fine characters stand inside of these, which the model sees as patches
_FINE_WIDTH, _FINE_HEIGHT = 0.68 / SQUARES, 0.86 / SQUARES
BACKGROUNDS = 6
PLACES = (
    "top left", "top", "top right",
    "left", "center", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
THINGS = tuple(kind for kind in SHAPES if kind not in (SIGN, PLATE))
# The badge of an object, in units of the object's box: where its disc is, and how large the character on it.
BADGE_SIDE, _BADGE_CHARACTER = 0.38, (0.19, 0.25)


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, where it stands (`cell`, 0-8 row by row) and its box in units of the picture's side.

    `text` is what a sign or a plate says. `badge` is the one character on the white disc that some objects wear in a
    corner, `badge_corner` (0 or 1 across, 0 or 1 down). A plate spans two cells and stands in the outer one. Each
    character of a `fine` object stands inside of one square of the picture.
    """

    kind: str
    color: str
    cell: int
    box: Box
    mirrored: bool = False
    text: str = ""
    badge: str = ""
    badge_corner: tuple[int, int] = (1, 1)
    fine: bool = False

    @property
    def place(self) -> str:
        return PLACES[self.cell]

    @property
    def row(self) -> int:
        return self.cell // COLUMNS

    @property
    def column(self) -> int:
        return self.cell % COLUMNS

    @property
    def badge_box(self) -> Box:
        """The square round the badge's disc."""
        x0, y0, x1, _ = self.box
        side = x1 - x0
        left = x0 + self.badge_corner[0] * (1 - BADGE_SIDE) * side
        top = y0 + self.badge_corner[1] * (1 - BADGE_SIDE) * side
        if self.fine:
            x, y = (_middle_of_square(low + BADGE_SIDE * side / 2) for low in (left, top))
            left, top = x - BADGE_SIDE * side / 2, y - BADGE_SIDE * side / 2
        return left, top, left + BADGE_SIDE * side, top + BADGE_SIDE * side

    def characters(self) -> list[tuple[str, Box]]:
        """Every character that can be read on it, with its box, from left to right."""
        if self.fine:
            boxes = [self.badge_box] if self.badge else self._text_boxes()
            return list(zip(self.badge or self.text, map(_box_in_square, boxes), strict=True))
        if self.badge:
            x0, y0, x1, y1 = self.badge_box
            width, height = (share * (self.box[2] - self.box[0]) for share in _BADGE_CHARACTER)
            x, y = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
            return [(self.badge, (x, y, x + width, y + height))]
        return list(zip(self.text, self._text_boxes(), strict=True))

    def _text_boxes(self) -> list[Box]:
        x0, y0, x1, y1 = self.box
        side, count = x1 - x0, len(self.text)
        if self.kind == PLATE:
            pitch = 0.9 * side / max(count, 3)
            width, height, top = 0.58 * pitch, 0.58 * (y1 - y0), y0 + 0.21 * (y1 - y0)
        else:
            pitch = (0.38 if count < 3 else 0.27) * side
            width, height, top = (0.22 if count < 3 else 0.17) * side, 0.4 * side, y0 + 0.2 * side
        left = (x0 + x1 - (count - 1) * pitch - width) / 2
        return [(left + i * pitch, top, left + i * pitch + width, top + height) for i in range(count)]


@dataclass(frozen=True)
class Scene:
    """Objects in reading order (top row first, left to right); `clutter` seeds the ground's texture, None: plain."""

    seed: int
    objects: tuple[SceneObject, ...]
    background: int
    clutter: int | None = None

    def draw(self, size: int = MODEL_SIZE) -> Image.Image:
        """The scene as an RGB picture of `size` x `size` pixels."""
        return draw_scene(self, size)

    @property
    def is_crowded(self) -> bool:
        return self.clutter is not None


def random_scene(seed: int, max_objects: int = MAX_OBJECTS) -> Scene:
    """A plain scene with one to `max_objects` objects, the same for the same seed.

    Kinds and colours repeat more often than chance would have it, so that counting has something to count.
    """
    rng = random.Random(f"scene-{seed}")
    count = rng.randint(1, max_objects)
    cells = sorted(rng.sample(range(ROWS * COLUMNS), count))
    favourites = rng.sample(THINGS, 2)
    objects: list[SceneObject] = []
    for cell in cells:
        has_sign = any(item.kind == SIGN for item in objects)
        if not has_sign and rng.random() < 0.12:
            kind = SIGN
        else:
            kind = rng.choice(favourites) if rng.random() < 0.35 else rng.choice(THINGS)
        if objects and rng.random() < 0.15:
            color = rng.choice(objects).color
        else:
            color = rng.choice(tuple(COLORS))
        number = str(rng.randint(0, 99)) if kind == SIGN else ""
        box, mirrored = random_box(rng, cell), rng.random() < 0.5 and not number
        objects.append(SceneObject(kind, color, cell, box, mirrored, number))
    return Scene(seed, tuple(objects), rng.randrange(BACKGROUNDS))


def _middle_of_square(at: float) -> float:
    return (int(at * SQUARES) + 0.5) / SQUARES


def _box_in_square(box: Box) -> Box:
    """The box of a fine character, in the square in which the middle of `box` lies."""
    x, y = (_middle_of_square((box[at] + box[at + 2]) / 2) for at in (0, 1))
    return x - _FINE_WIDTH / 2, y - _FINE_HEIGHT / 2, x + _FINE_WIDTH / 2, y + _FINE_HEIGHT / 2


def random_box(rng: random.Random, cell: int, least: float = 0.245, most: float = 0.31) -> Box:
    """A square somewhere in a cell, its side between `least` and `most` of the picture's."""
    side = rng.uniform(least, most)
    slack = 1 / COLUMNS - side
    left = cell % COLUMNS / COLUMNS + rng.random() * slack
    top = cell // COLUMNS / ROWS + rng.random() * slack
    return left, top, left + side, top + side
