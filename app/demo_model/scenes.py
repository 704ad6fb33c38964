"""Scenes that mini-llava was trained on: one to six objects on a three-by-three layout, drawn from a seed.

A scene is data first (`Scene.objects`) and a picture second (`Scene.draw`), so that the true answer to every question
about it is known, at any drawing size.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from app.demo_model.shapes import COLORS, DIGITS, SHAPES, SIGN, Part

COLUMNS = ROWS = 3
MODEL_SIZE = 192  # pixels a side of what the model sees
MAX_OBJECTS = 6
PLACES = (
    "top left", "top", "top right",
    "left", "center", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
_SUPERSAMPLING = 3
_BACKGROUNDS = ((250, 250, 247), (236, 243, 250), (247, 240, 228), (238, 246, 236), (245, 238, 246), (232, 234, 238))
_INK, _WHITE = (58, 52, 50), (255, 255, 255)


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, where it stands (`cell`, 0-8 row by row) and its box in units of the picture's side."""

    kind: str
    color: str
    cell: int
    box: tuple[float, float, float, float]
    mirrored: bool = False
    number: str = ""

    @property
    def place(self) -> str:
        return PLACES[self.cell]

    @property
    def row(self) -> int:
        return self.cell // COLUMNS

    @property
    def column(self) -> int:
        return self.cell % COLUMNS


@dataclass(frozen=True)
class Scene:
    """Objects in reading order (top row first, left to right) on a plain background."""

    seed: int
    objects: tuple[SceneObject, ...]
    background: int

    def draw(self, size: int = MODEL_SIZE) -> Image.Image:
        """The scene as an RGB picture of `size` x `size` pixels."""
        side = size * _SUPERSAMPLING
        canvas = Image.new("RGB", (side, side), _BACKGROUNDS[self.background])
        pen = ImageDraw.Draw(canvas)
        _shade_ground(pen, side, _BACKGROUNDS[self.background])
        for item in self.objects:
            _draw_object(pen, item, side)
        return canvas.resize((size, size), Image.Resampling.BOX)


def random_scene(seed: int, max_objects: int = MAX_OBJECTS) -> Scene:
    """A scene with one to `max_objects` objects, the same for the same seed.

    Kinds and colours repeat more often than chance would have it, so that counting has something to count.
    """
    rng = random.Random(f"scene-{seed}")
    count = rng.randint(1, max_objects)
    cells = sorted(rng.sample(range(ROWS * COLUMNS), count))
    kinds = [kind for kind in SHAPES if kind != SIGN]
    favourites = rng.sample(kinds, 2)
    objects: list[SceneObject] = []
    for cell in cells:
        has_sign = any(item.kind == SIGN for item in objects)
        if not has_sign and rng.random() < 0.12:
            kind = SIGN
        else:
            kind = rng.choice(favourites) if rng.random() < 0.35 else rng.choice(kinds)
        if objects and rng.random() < 0.15:
            color = rng.choice(objects).color
        else:
            color = rng.choice(tuple(COLORS))
        number = str(rng.randint(0, 99)) if kind == SIGN else ""
        box, mirrored = _random_box(rng, cell), rng.random() < 0.5 and not number
        objects.append(SceneObject(kind, color, cell, box, mirrored, number))
    return Scene(seed, tuple(objects), rng.randrange(len(_BACKGROUNDS)))


def _random_box(rng: random.Random, cell: int) -> tuple[float, float, float, float]:
    side = rng.uniform(0.245, 0.31)
    slack = 1 / COLUMNS - side
    left = cell % COLUMNS / COLUMNS + rng.random() * slack
    top = cell // COLUMNS / ROWS + rng.random() * slack
    return left, top, left + side, top + side


def _shade_ground(pen: ImageDraw.ImageDraw, side: int, tint: tuple[int, int, int]) -> None:
    """A faint vertical gradient: flat colour would make every background patch the same vector."""
    for y in range(side):
        shade = 1.0 - 0.06 * y / side
        pen.line((0, y, side, y), fill=tuple(round(channel * shade) for channel in tint))


def _draw_object(pen: ImageDraw.ImageDraw, item: SceneObject, side: int) -> None:
    for part in SHAPES[item.kind]:
        _draw_part(pen, part, item, side)
    if item.number:
        _draw_number(pen, item, side)


def _draw_part(pen: ImageDraw.ImageDraw, part: Part, item: SceneObject, side: int) -> None:
    ink, primitive, numbers = part
    fill = _paint(ink, item.color)
    x0, y0, x1, _ = item.box
    scale = (x1 - x0) * side

    def place(values: tuple[float, ...]) -> list[float]:
        flat = []
        for x, y in zip(values[0::2], values[1::2], strict=True):
            flat += [x0 * side + ((1 - x) if item.mirrored else x) * scale, y0 * side + y * scale]
        return flat

    if primitive == "poly":
        pen.polygon(place(numbers), fill=fill)
    elif primitive == "line":
        pen.line(place(numbers[:-1]), fill=fill, width=max(1, round(numbers[-1] * scale)), joint="curve")
    else:
        corners = place(numbers[:4])
        bounds = (min(corners[0::2]), min(corners[1::2]), max(corners[0::2]), max(corners[1::2]))
        if primitive == "oval":
            pen.ellipse(bounds, fill=fill)
        elif primitive == "box":
            pen.rectangle(bounds, fill=fill)
        else:
            start, end, width = numbers[4:]
            pen.arc(bounds, start, end, fill=fill, width=max(1, round(width * scale)))


def _draw_number(pen: ImageDraw.ImageDraw, item: SceneObject, side: int) -> None:
    """The sign's number, one or two digits centred in its white panel."""
    x0, y0, x1, _ = item.box
    scale = (x1 - x0) * side
    width, height, gap = 0.22, 0.4, 0.16
    left = 0.5 - (len(item.number) * width + (len(item.number) - 1) * gap) / 2
    for position, digit in enumerate(item.number):
        points = []
        for u, v in DIGITS[digit]:
            points += [x0 * side + (left + position * (width + gap) + u * width) * scale,
                       y0 * side + (0.2 + v / 2 * height) * scale]  # fmt: skip
        pen.line(points, fill=_INK, width=max(1, round(0.075 * scale)), joint="curve")


def _paint(ink: str, color: str) -> tuple[int, int, int]:
    if ink == "white":
        return _WHITE
    if ink == "ink":
        return _INK
    main = COLORS[color]
    if ink == "dark":
        return tuple(round(channel * 0.72) for channel in main)
    if ink == "light":
        return tuple(round(channel + (255 - channel) * 0.45) for channel in main)
    return main
