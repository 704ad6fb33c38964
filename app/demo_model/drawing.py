"""Scenes as pixels, and as maps of what each pixel shows: the same primitives, painted with colours or with numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from app.demo_model.lettering import draw_character
from app.demo_model.shapes import COLORS, SHAPES, Part

if TYPE_CHECKING:
    from app.demo_model.scenes import Scene, SceneObject

_SUPERSAMPLING = 3
_BACKGROUNDS = ((250, 250, 247), (236, 243, 250), (247, 240, 228), (238, 246, 236), (245, 238, 246), (232, 234, 238))
_INK, _WHITE = (58, 52, 50), (255, 255, 255)
_CLUTTER = 60  # marks on the ground of a crowded scene, about
# Every part that a pixel can belong to, 0 being the ground; and the disc of a badge behind them all.
PARTS = tuple((kind, number) for kind, parts in SHAPES.items() for number in range(len(parts)))
BADGE_PART = len(PARTS) + 1
_PART_NUMBER = {part: number for number, part in enumerate(PARTS, start=1)}
_COLOR_NUMBER = {color: number for number, color in enumerate(COLORS, start=1)}

# (part of the picture book or "badge", its number, the ink it is painted with) to a value of the canvas.
Painter = Callable[["SceneObject", int, str], "int | tuple[int, int, int]"]


def draw_scene(scene: Scene, size: int) -> Image.Image:
    """The scene as an RGB picture of `size` x `size` pixels."""
    side = size * _SUPERSAMPLING
    tint = _BACKGROUNDS[scene.background]
    canvas = Image.new("RGB", (side, side), tint)
    pen = ImageDraw.Draw(canvas)
    _shade_ground(pen, side, tint)
    if scene.clutter is not None:
        _clutter_ground(pen, side, tint, random.Random(scene.clutter))
    face = "light" if scene.is_crowded else "white"
    for item in scene.objects:
        _draw_object(pen, item, side, lambda item, part, ink: _paint(ink, item.color, face))
        for character, box in item.characters():
            width = 0.2 * (box[2] - box[0]) if item.fine else 0.075 * (item.box[2] - item.box[0])
            draw_character(pen, character, box, width, _INK, side)
    return canvas.resize((size, size), Image.Resampling.BOX)


def part_map(scene: Scene, size: int) -> np.ndarray:
    """uint8 (size, size): the number of the part that each pixel shows, 0 for the ground."""
    return _map(scene, size, lambda item, part, ink: BADGE_PART if part < 0 else _PART_NUMBER[item.kind, part])


def color_map(scene: Scene, size: int) -> np.ndarray:
    """uint8 (size, size): 1 + the number of the named colour of each pixel, 0 for ground, white and ink."""
    plain = ("white", "ink") if scene.is_crowded else ("white", "ink", "face")
    return _map(scene, size, lambda item, part, ink: 0 if ink in plain else _COLOR_NUMBER[item.color])


def _map(scene: Scene, size: int, painter: Painter) -> np.ndarray:
    canvas = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(canvas)
    for item in scene.objects:
        _draw_object(pen, item, size, painter)
    return np.asarray(canvas)


def _shade_ground(pen: ImageDraw.ImageDraw, side: int, tint: tuple[int, int, int]) -> None:
    """A faint vertical gradient: flat colour would make every background patch the same vector."""
    for y in range(side):
        shade = 1.0 - 0.06 * y / side
        pen.line((0, y, side, y), fill=tuple(round(channel * shade) for channel in tint))


def _clutter_ground(pen: ImageDraw.ImageDraw, side: int, tint: tuple[int, int, int], rng: random.Random) -> None:
    """Faint scratches, spots and slabs everywhere: ground that is not empty, and means nothing."""
    for _ in range(rng.randint(_CLUTTER // 2, 3 * _CLUTTER // 2)):
        shade = rng.uniform(0.72, 0.95)
        fill = tuple(round(channel * shade * rng.uniform(0.96, 1.0)) for channel in tint)
        x, y = rng.random() * side, rng.random() * side
        reach = rng.uniform(0.01, 0.12) * side
        dx, dy = rng.uniform(-reach, reach), rng.uniform(-reach, reach)
        form = rng.random()
        if form < 0.5:
            pen.line((x, y, x + dx, y + dy), fill=fill, width=rng.randint(1, max(2, side // 90)))
        elif form < 0.8:
            radius = rng.uniform(0.004, 0.02) * side
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        else:
            pen.rectangle((x, y, x + abs(dx), y + abs(dy)), outline=fill, width=max(1, side // 200))


def _draw_object(pen: ImageDraw.ImageDraw, item: SceneObject, side: int, painter: Painter) -> None:
    for number, part in enumerate(SHAPES[item.kind]):
        _draw_part(pen, part, item, side, painter(item, number, part[0]))
    if item.badge:
        corners = [value * side for value in item.badge_box]
        pen.ellipse(corners, fill=painter(item, -1, "ink"))
        rim = 0.05 * (corners[2] - corners[0])
        inner = (corners[0] + rim, corners[1] + rim, corners[2] - rim, corners[3] - rim)
        pen.ellipse(inner, fill=painter(item, -1, "light"))


def _draw_part(pen: ImageDraw.ImageDraw, part: Part, item: SceneObject, side: int, fill) -> None:
    _, primitive, numbers = part
    x0, y0, x1, y1 = item.box
    scale = (x1 - x0) * side
    upright = (y1 - y0) * side

    def place(values: tuple[float, ...]) -> Iterator[float]:
        for x, y in zip(values[0::2], values[1::2], strict=True):
            yield x0 * side + ((1 - x) if item.mirrored else x) * scale
            yield y0 * side + y * upright

    if primitive == "poly":
        pen.polygon(list(place(numbers)), fill=fill)
    elif primitive == "line":
        pen.line(list(place(numbers[:-1])), fill=fill, width=max(1, round(numbers[-1] * scale)), joint="curve")
    else:
        corners = list(place(numbers[:4]))
        bounds = (min(corners[0::2]), min(corners[1::2]), max(corners[0::2]), max(corners[1::2]))
        if primitive == "oval":
            pen.ellipse(bounds, fill=fill)
        elif primitive == "box":
            pen.rectangle(bounds, fill=fill)
        else:
            start, end, width = numbers[4:]
            pen.arc(bounds, start, end, fill=fill, width=max(1, round(width * scale)))


def _paint(ink: str, color: str, face: str) -> tuple[int, int, int]:
    """`face`: the ink of what is written on."""
    ink = face if ink == "face" else ink
    if ink == "white":
        return _WHITE
    if ink == "ink":
        return _INK
    red, green, blue = main = COLORS[color]
    if ink == "dark":
        red, green, blue = (round(channel * 0.72) for channel in main)
    elif ink == "light":
        red, green, blue = (round(channel + (255 - channel) * 0.45) for channel in main)
    return red, green, blue
