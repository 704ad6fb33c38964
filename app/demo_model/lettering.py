"""Characters of signs, plates and badges: strokes on a small grid of points, so that nothing needs a font.

A character is one stroke or several, each a chain of points; x runs from 0 to 1, y from 0 (top) to 2.
"""

from __future__ import annotations

from PIL import ImageDraw

Stroke = tuple[tuple[float, float], ...]
Box = tuple[float, float, float, float]

DIGITS: dict[str, tuple[Stroke, ...]] = {
    "0": (((0, 0), (1, 0), (1, 2), (0, 2), (0, 0)),),
    "1": (((0.15, 0.4), (0.6, 0), (0.6, 2)),),
    "2": (((0, 0.3), (0.15, 0), (0.85, 0), (1, 0.3), (1, 0.75), (0, 2), (1, 2)),),
    "3": (((0, 0), (1, 0), (0.45, 0.85), (1, 1.15), (1, 1.75), (0.7, 2), (0, 2)),),
    "4": (((0.75, 2), (0.75, 0), (0, 1.35), (1.05, 1.35)),),
    "5": (((1, 0), (0, 0), (0, 0.9), (0.8, 0.9), (1, 1.2), (1, 1.75), (0.8, 2), (0, 2)),),
    "6": (((0.8, 0), (0.3, 0.3), (0, 1.0), (0, 2), (1, 2), (1, 1.05), (0, 1.05)),),
    "7": (((0, 0), (1, 0), (0.35, 2)),),
    "8": (((0, 0), (1, 0), (1, 2), (0, 2), (0, 0), (0, 1), (1, 1)),),
    "9": (((1, 0.95), (0, 0.95), (0, 0), (1, 0), (1, 1.1), (0.6, 2)),),
}
# Letters that are far from every digit and from one another at a dozen pixels.
LETTERS: dict[str, tuple[Stroke, ...]] = {
    "A": (((0, 2), (0.5, 0), (1, 2)), ((0.25, 1.3), (0.75, 1.3))),
    "C": (((1, 0.25), (0.75, 0), (0.25, 0), (0, 0.3), (0, 1.7), (0.25, 2), (0.75, 2), (1, 1.75)),),
    "E": (((1, 0), (0, 0), (0, 2), (1, 2)), ((0, 1), (0.8, 1))),
    "F": (((1, 0), (0, 0), (0, 2)), ((0, 0.95), (0.8, 0.95))),
    "H": (((0, 0), (0, 2)), ((1, 0), (1, 2)), ((0, 1), (1, 1))),
    "J": (((0.3, 0), (0.9, 0), (0.9, 1.7), (0.6, 2), (0.2, 2), (0, 1.6)),),
    "K": (((0, 0), (0, 2)), ((1, 0), (0, 1.1), (1, 2))),
    "L": (((0, 0), (0, 2), (1, 2)),),
    "M": (((0, 2), (0, 0), (0.5, 1.1), (1, 0), (1, 2)),),
    "P": (((0, 2), (0, 0), (0.8, 0), (1, 0.25), (1, 0.8), (0.8, 1.05), (0, 1.05)),),
    "T": (((0, 0), (1, 0)), ((0.5, 0), (0.5, 2))),
    "W": (((0, 0), (0.2, 2), (0.5, 0.8), (0.8, 2), (1, 0)),),
    "Y": (((0, 0), (0.5, 0.95), (1, 0)), ((0.5, 0.95), (0.5, 2))),
}
CHARACTERS = {**DIGITS, **LETTERS}


def draw_character(pen: ImageDraw.ImageDraw, character: str, box: Box, width: float, ink, side: int) -> None:
    """Write one character into its box; box and the stroke's width in units of the picture's side, `side` in pixels."""
    x0, y0, x1, y1 = box
    for stroke in CHARACTERS[character]:
        points = []
        for u, v in stroke:
            points += [(x0 + u * (x1 - x0)) * side, (y0 + v / 2 * (y1 - y0)) * side]
        pen.line(points, fill=ink, width=max(1, round(width * side)), joint="curve")
