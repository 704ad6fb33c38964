"""An exported comparison as a picture of one layer (PNG), or as an animation through the layers (GIF, WebP)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from fitprune_core.report.drawing import LayerDrawing

# How long a frame stands, in milliseconds: the picture as it is, a layer, and the last one.
FIRST_MS, LAYER_MS, LAST_MS = 1200, 420, 3000
_SAME = 255  # the last of a GIF's 256 colours stands for what is as it was in the frame before


def png_of(entries: Mapping[str, Any], layer: int | None = None) -> bytes:
    """The picture with what leaves a layer, from 0; None: the last. Raises ValueError for one that is not there."""
    drawing = LayerDrawing(entries)
    layer = drawing.layers - 1 if layer is None else layer
    if not 0 <= layer < drawing.layers:
        raise ValueError(f"there is no layer {layer + 1}; the model has {drawing.layers}")
    buffer = io.BytesIO()
    drawing.frame(layer).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def animation_of(entries: Mapping[str, Any], kind: str) -> bytes:
    """The picture as it is, then every layer; it begins again after the last. kind: "gif" or "webp"."""
    drawing = LayerDrawing(entries)
    frames = [drawing.frame(layer) for layer in (None, *range(drawing.layers))]
    durations = [FIRST_MS, *[LAYER_MS] * (drawing.layers - 1), LAST_MS]
    options: dict[str, Any] = {"quality": 88, "method": 3}
    if kind == "gif":
        frames = changes_of(with_one_palette(frames))
        options = {"optimize": False, "disposal": 1, "transparency": _SAME}
    buffer = io.BytesIO()
    frames[0].save(buffer, kind.upper(), save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return buffer.getvalue()


def with_one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    """Frames in the same few colours. What does not change keeps its dots: dithered anew, each frame would flicker."""
    few = [frames[0], frames[len(frames) // 2], frames[-1]]
    sample = Image.new("RGB", (frames[0].width, frames[0].height * len(few)))
    for at, frame in enumerate(few):
        sample.paste(frame, (0, at * frame.height))
    palette = sample.quantize(_SAME, method=Image.Quantize.MEDIANCUT)
    found, dots, before = [], None, None
    for frame in frames:
        own, pixels = np.asarray(frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)), np.asarray(frame)
        dots = own if dots is None else np.where((pixels == before).all(axis=-1), dots, own)
        before = pixels
        image = Image.fromarray(dots)
        image.putpalette(palette.getpalette() or [])
        found.append(image)
    return found


def changes_of(frames: list[Image.Image]) -> list[Image.Image]:
    """The first frame, and of the others what differs from the one before: a tenth of the bytes."""
    changes = frames[:1]
    for before, frame in pairwise(frames):
        dots = np.asarray(frame)
        change = Image.fromarray(np.where(dots == np.asarray(before), np.uint8(_SAME), dots))
        change.putpalette(frame.getpalette() or [])
        changes.append(change)
    return changes
