"""Where the visual tokens of a picture lie: in the picture itself, in pixels of the original."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers.image_processing_utils import select_best_resolution

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VisualLayout:
    """What each visual token of one picture shows. Boxes are (left, top, right, bottom) in pixels of the original.

    Attributes:
        image_size: (width, height) of the picture, after EXIF rotation.
        boxes: for each token the part of the picture it shows, or None where it shows none (a line's end, padding).
        rows, columns: of the main grid: the only one, or for LLaVA-NeXT that of the tiles.
        seen: the part of the picture that the model saw; the rest was cropped away.
        aspect: what became of the picture's aspect ratio: "crop", "pad", "stretch" or "anyres".
        views: for each token "grid" (the only view), "base" (LLaVA-NeXT's whole picture), "tile", "newline" (the end of
            a line of tiles) or "class" (a vision tower's class token).
    """

    image_size: tuple[int, int]
    boxes: tuple[Box | None, ...]
    rows: int
    columns: int
    seen: Box
    aspect: str
    views: tuple[str, ...]

    @property
    def num_tokens(self) -> int:
        """Visual tokens of the picture."""
        return len(self.boxes)


@dataclass(frozen=True)
class _Frame:
    """Where a picture of `image_size` came to lie, in the pixels that the vision tower gets.

    It fills (left, top) to (left + width, top + height); parts outside the tower's input are cut off.
    """

    image_size: tuple[int, int]
    left: float
    top: float
    width: float
    height: float

    def box(self, left: float, top: float, right: float, bottom: float) -> Box | None:
        """A rectangle of the tower's input in pixels of the picture, clipped to it; None where nothing is left."""
        across, down = self.image_size[0] / self.width, self.image_size[1] / self.height
        x0, x1 = ((min(max(x - self.left, 0), self.width)) * across for x in (left, right))
        y0, y1 = ((min(max(y - self.top, 0), self.height)) * down for y in (top, bottom))
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def grid(self, rows: int, columns: int, patch: int, first_row: int = 0, first_column: int = 0) -> list[Box | None]:
        """The boxes of a grid of patches, row by row."""
        return [
            self.box(column * patch, row * patch, (column + 1) * patch, (row + 1) * patch)
            for row in range(first_row, first_row + rows)
            for column in range(first_column, first_column + columns)
        ]


def visual_layout(model_config: Any, processor: Any, image_size: tuple[int, int]) -> VisualLayout:
    """The layout of a picture's visual tokens, in the order in which they stand in the prompt.

    model_config: of the LLaVA; processor: its processor; image_size: (width, height) after EXIF rotation. It follows
    the arithmetic of transformers' image processors, to within 0.1 patch. Raises ValueError for an empty picture.
    """
    width, height = image_size
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} x {height} pixels shows nothing")
    if model_config.model_type == "llava_next":
        return _anyres_layout(model_config, (width, height))
    return _single_view_layout(model_config, processor, (width, height))


def image_aspect(model_config: Any, processor: Any) -> str:
    """What becomes of a picture's aspect ratio, as in `VisualLayout.aspect`."""
    if model_config.model_type == "llava_next":
        return "anyres"
    image_processor = processor.image_processor
    if getattr(image_processor, "do_pad", False):
        return "pad"
    return "crop" if image_processor.size.get("shortest_edge") else "stretch"


def _single_view_layout(model_config: Any, processor: Any, image_size: tuple[int, int]) -> VisualLayout:
    """LLaVA-1.5: one view, cropped from the middle, padded to a square first, or stretched."""
    image_processor, patch = processor.image_processor, model_config.vision_config.patch_size
    frame, (across, down) = _single_view_frame(image_processor, image_size)
    rows, columns = down // patch, across // patch
    boxes, views = frame.grid(rows, columns, patch), ["grid"] * (rows * columns)
    extra = processor.num_additional_image_tokens - (processor.vision_feature_select_strategy == "default")
    if extra > 0:
        boxes, views = [None] * extra + boxes, ["class"] * extra + views
    # Pixels beyond the last whole patch are cut off by the tower (SigLIP's 384 pixels are 27 patches of 14).
    seen = frame.box(0, 0, columns * patch, rows * patch)
    aspect = image_aspect(model_config, processor)
    return VisualLayout(image_size, tuple(boxes), rows, columns, seen, aspect, tuple(views))


def _single_view_frame(image_processor: Any, image_size: tuple[int, int]) -> tuple[_Frame, tuple[int, int]]:
    """Where an image processor puts a picture, and the (width, height) of what the tower gets."""
    width, height = image_size
    padded = bool(getattr(image_processor, "do_pad", False))
    side = max(width, height)
    canvas = (side, side) if padded else image_size
    resized = _resized(image_processor.size, canvas)
    cropped = resized
    if image_processor.do_center_crop:
        cropped = (image_processor.crop_size["width"], image_processor.crop_size["height"])
    # Where the picture lies on the canvas, then the canvas in the crop; the processors round both down.
    across, down = resized[0] / canvas[0], resized[1] / canvas[1]
    left = (canvas[0] - width) // 2 * across - (resized[0] - cropped[0]) // 2
    top = (canvas[1] - height) // 2 * down - (resized[1] - cropped[1]) // 2
    return _Frame(image_size, left, top, width * across, height * down), cropped


def _resized(size: Any, image_size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) after resizing by an image processor's `size`."""
    shortest = size.get("shortest_edge")
    if not shortest:
        return size["width"], size["height"]
    width, height = image_size
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest


def _anyres_layout(model_config: Any, image_size: tuple[int, int]) -> VisualLayout:
    """LLaVA-NeXT: the whole picture stretched to a square, then tiles of a larger, padded one, line by line.

    The lines that the model cuts off as padding (`unpad_image`) follow from the picture's aspect ratio, in patches;
    the padding itself was laid in pixels. So some tokens may show only padding.
    """
    width, height = image_size
    side, patch = model_config.vision_config.image_size, model_config.vision_config.patch_size
    per_side = side // patch
    base = _Frame(image_size, 0, 0, side, side)
    boxes, views = base.grid(per_side, per_side, patch), ["base"] * per_side**2
    frame, rows, columns = _tiles(model_config.image_grid_pinpoints, image_size, side, patch)
    first_row, rows_kept, first_column, columns_kept = _unpadded(image_size, rows, columns)
    tiles = frame.grid(rows_kept, columns_kept, patch, first_row, first_column)
    for line in range(rows_kept):
        boxes += [*tiles[line * columns_kept : (line + 1) * columns_kept], None]
        views += ["tile"] * columns_kept + ["newline"]
    whole = (0.0, 0.0, float(width), float(height))
    return VisualLayout(image_size, tuple(boxes), rows_kept, columns_kept, whole, "anyres", tuple(views))


def _tiles(
    pinpoints: Sequence[Sequence[int]], image_size: tuple[int, int], side: int, patch: int
) -> tuple[_Frame, int, int]:
    """Where a picture lies in the canvas of its tiles, and the canvas in rows and columns of patches."""
    width, height = image_size
    down, across = select_best_resolution((height, width), [tuple(pair) for pair in pinpoints])
    if across / width < down / height:
        new_width, new_height = across, min(math.ceil(height * (across / width)), down)
    else:
        new_width, new_height = min(math.ceil(width * (down / height)), across), down
    left, top = (across - new_width) // 2, (down - new_height) // 2
    per_side = side // patch
    return _Frame(image_size, left, top, new_width, new_height), down // side * per_side, across // side * per_side


def _unpadded(image_size: tuple[int, int], rows: int, columns: int) -> tuple[int, int, int, int]:
    """First row, rows, first column and columns that the model keeps of a padded grid (`unpad_image`)."""
    width, height = image_size
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return padding, rows - 2 * padding, 0, columns
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return 0, rows, padding, columns - 2 * padding
