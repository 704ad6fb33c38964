"""Coordinate pictures: where a model looks, found out by what it sees of a ramp of colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from fitprune_core import VisualLayout


def ramp(image_size, middle, reach) -> Image.Image:
    """Red rises from left to right and green from top to bottom, both half-way at `middle`, over `reach` pixels."""
    axes = []
    for length, at, span in zip(image_size, middle, reach, strict=True):
        axes.append(np.clip(127.5 + 255 * (np.arange(length) + 0.5 - at) / span, 0, 255))
    red, green = np.meshgrid(*axes)
    return Image.fromarray(np.stack([red, green, np.zeros_like(red)], -1).round().astype(np.uint8), "RGB")


def patch_colours(processor, image: Image.Image, patch: int) -> np.ndarray:
    """Mean red and green, 0 to 255, of each whole patch that a single-view processor makes, (patches, 2)."""
    pixels = processor.image_processor(image, return_tensors="np", do_normalize=False)["pixel_values"][0] * 255
    rows, columns = pixels.shape[1] // patch, pixels.shape[2] // patch
    whole = pixels[:2, : rows * patch, : columns * patch]
    return whole.reshape(2, rows, patch, columns, patch).mean(axis=(2, 4)).reshape(2, -1).T


def box_errors(
    layout: VisualLayout, view: str, colours: Callable[[Image.Image], np.ndarray], samples: int = 20
) -> list[float]:
    """How far, in patches, the middles of boxes are from where the tokens look, for some tokens of a view.

    colours: what every token sees of a picture, (tokens, 2). Padding, and patches that a picture's edge cuts, are left
    out: their middle is not the patch's.
    """
    shown = [at for at, box in enumerate(layout.boxes) if box and layout.views[at] == view]
    sizes = np.array([[layout.boxes[at][2] - layout.boxes[at][0], layout.boxes[at][3] - layout.boxes[at][1]]
                      for at in shown])  # fmt: skip
    step = sizes.max(axis=0)
    whole = [at for at, size in zip(shown, sizes, strict=True) if (size >= 0.99 * step).all()]
    errors = []
    for token in whole[:: max(len(whole) // samples, 1)]:
        left, top, right, bottom = layout.boxes[token]
        reach = np.maximum(4 * step, 8)
        found = colours(ramp(layout.image_size, ((left + right) / 2, (top + bottom) / 2), reach))[token]
        errors.append(float((np.abs(found - 127.5) / 255 * reach / step).max()))
    return errors
