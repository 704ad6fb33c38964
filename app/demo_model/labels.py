"""What every patch of a picture is taught to know: what covers that very patch, and nothing about the rest.

The part of an object that it shows (a wheel, the edge of a sign), the colour, the character, and which of its corners
are covered. Nothing that only the whole picture tells: names, counts and codes are the decoder's work.
"""

from __future__ import annotations

import numpy as np

from app.demo_model.architecture import GRID, PATCH_SIZE
from app.demo_model.drawing import BADGE_PART, color_map, part_map
from app.demo_model.lettering import CHARACTERS
from app.demo_model.scenes import MODEL_SIZE, Scene
from app.demo_model.shapes import COLORS

ALL_COLORS = (*COLORS, "gray", "teal")  # easy-VQA has two more
NOT_ASKED = 255
# Name to number of values; 0 always means "nothing here".
TARGETS = {"part": BADGE_PART + 1, "color": len(ALL_COLORS) + 1, "character": len(CHARACTERS) + 1, "edge": 16}
_COVERED, _COLORED, _WRITTEN = 0.2, 0.1, 0.6  # the least share of a patch that counts
_CHARACTER_NUMBER = {character: number for number, character in enumerate(CHARACTERS, start=1)}


def scene_labels(scene: Scene) -> dict[str, np.ndarray]:
    """uint8 (patches,) for each target."""
    parts = part_map(scene, MODEL_SIZE)
    return {
        "part": _most_frequent(parts, TARGETS["part"], _COVERED),
        "color": _most_frequent(color_map(scene, MODEL_SIZE), TARGETS["color"], _COLORED),
        "character": character_labels(scene),
        "edge": edge_labels(parts > 0),
    }


def character_labels(scene: Scene) -> np.ndarray:
    """The character that covers most of each patch, uint8 (patches,).

    One or two patches know each character: those that show nearly all that a patch can, and the one that shows most. A
    character that all patches about it know is read from any of them, whichever go.
    """
    most = np.zeros((GRID, GRID))
    labels = np.zeros((GRID, GRID), np.uint8)
    edges = np.arange(GRID + 1)
    for item in scene.objects:
        for character, (x0, y0, x1, y1) in item.characters():
            across, down = (_overlap(edges, GRID * low, GRID * high) for low, high in ((x0, x1), (y0, y1)))
            share = down[:, None] * across[None, :]
            here = (share > most) & (share >= min(_WRITTEN, share.max()))
            labels[here] = _CHARACTER_NUMBER[character]
            most = np.maximum(most, share)
    return labels.reshape(-1)


def edge_labels(covered: np.ndarray) -> np.ndarray:
    """Which quarters of each patch are covered, as four bits: bool (side, side) to uint8 (patches,)."""
    half = PATCH_SIZE // 2
    quarters = covered.reshape(GRID, 2, half, GRID, 2, half).mean((2, 5)) > 0.5
    bits = quarters.transpose(0, 2, 1, 3).reshape(GRID * GRID, 4)
    return (bits @ np.array([1, 2, 4, 8])).astype(np.uint8)


def shape_labels(picture: np.ndarray, color: str) -> dict[str, np.ndarray]:
    """Labels of a picture of easy-VQA, one shape on an even ground; which shape is not for a patch to know."""
    covered = np.abs(picture.astype(np.int16) - picture[0, 0].astype(np.int16)).sum(-1) > 60
    colored = covered.reshape(GRID, PATCH_SIZE, GRID, PATCH_SIZE).mean((1, 3)).reshape(-1) > _COLORED
    number = ALL_COLORS.index(color) + 1 if color else NOT_ASKED
    return {
        "part": np.where(colored, NOT_ASKED, 0).astype(np.uint8),
        "color": np.where(colored, number, 0).astype(np.uint8),
        "character": np.zeros(GRID * GRID, np.uint8),
        "edge": edge_labels(covered),
    }


def _most_frequent(numbers: np.ndarray, values: int, least: float) -> np.ndarray:
    """The number other than 0 that most pixels of each patch have, where at least that share has one."""
    count = GRID * GRID
    patches = numbers.reshape(GRID, PATCH_SIZE, GRID, PATCH_SIZE).transpose(0, 2, 1, 3).reshape(count, -1)
    tagged = patches.astype(np.int64) + values * np.arange(count)[:, None]
    counts = np.bincount(tagged.reshape(-1), minlength=count * values).reshape(count, values)[:, 1:]
    return np.where(counts.sum(1) >= least * patches.shape[1], counts.argmax(1) + 1, 0).astype(np.uint8)


def _overlap(edges: np.ndarray, low: float, high: float) -> np.ndarray:
    """The share of each interval between neighbouring edges (1 apart) that lies between low and high."""
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, 1)


def foreign_labels() -> dict[str, np.ndarray]:
    """Labels of a picture that shows nothing of this world: nothing is asked about it."""
    return {name: np.full(GRID * GRID, NOT_ASKED, np.uint8) for name in TARGETS}
