"""LLaVA-NeXT (LLaVA-1.6): the whole picture stretched to a square, then tiles of a larger, padded one.

Visual tokens are those of the whole picture, then those of the tiles line by line, each line with a newline at its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transformers import ProcessorMixin
from transformers.image_processing_utils import select_best_resolution

from fitprune_core.cost.tower import class_tokens
from fitprune_core.models.families.llava import Llava
from fitprune_core.models.family import Family
from fitprune_core.models.layout import Box, Frame, VisualLayout
from fitprune_core.models.processors import set_logged


class LlavaNext(Llava):
    """`LlavaNextForConditionalGeneration`."""

    name = "LLaVA-NeXT"
    model_types = ("llava_next",)
    classes = ("LlavaNextForConditionalGeneration",)
    shape = "reads a picture in tiles of its own shape"
    set_image_aspect = Family.set_image_aspect

    def prepare_image_processor(self, image_processor: Any, config: Any) -> None:
        if not hasattr(image_processor, "image_grid_pinpoints"):
            raise ValueError(f"{type(image_processor).__name__} makes no tiles, which {self.name} reads.")
        set_logged(image_processor, "image_grid_pinpoints", config.image_grid_pinpoints)

    def select_strategy(self, config: Any) -> str:
        strategy = super().select_strategy(config)
        if strategy == "full" and class_tokens(config.vision_config):
            raise ValueError(
                f"vision_feature_select_strategy is 'full', but {self.name} has no place for a class token among its "
                "tiles; it must be 'default'."
            )
        return strategy

    def image_aspect(self, config: Any, processor: ProcessorMixin) -> str:
        return "anyres"

    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        """The lines that the model cuts off as padding (`unpad_image`) follow from the picture's aspect ratio, in
        patches; the padding itself was laid in pixels. So some tokens may show only padding.
        """
        width, height = image_size
        side, patch = config.vision_config.image_size, config.vision_config.patch_size
        per_side = side // patch
        base = Frame(image_size, 0, 0, side, side)
        boxes, views = base.grid(per_side, per_side, patch), ["base"] * per_side**2
        frame, rows, columns = tiled_canvas(config.image_grid_pinpoints, image_size, side, patch)
        first_row, rows_kept, first_column, columns_kept = unpadded(image_size, rows, columns)
        tiles = frame.grid(rows_kept, columns_kept, patch, first_row, first_column)
        for line in range(rows_kept):
            boxes += [*tiles[line * columns_kept : (line + 1) * columns_kept], None]
            views += ["tile"] * columns_kept + ["newline"]
        whole = (0.0, 0.0, float(width), float(height))
        shown = shown_tiles(frame, rows, columns, side, patch)
        return VisualLayout(image_size, tuple(boxes), rows_kept, columns_kept, whole, "anyres", tuple(views), shown)


def tiled_canvas(
    pinpoints: Sequence[Sequence[int]], image_size: tuple[int, int], side: int, patch: int
) -> tuple[Frame, int, int]:
    """Where a picture lies in the canvas of its tiles, and the canvas in rows and columns of patches."""
    width, height = image_size
    down, across = select_best_resolution((height, width), [tuple(pair) for pair in pinpoints])
    if across / width < down / height:
        new_width, new_height = across, min(math.ceil(height * (across / width)), down)
    else:
        new_width, new_height = min(math.ceil(width * (down / height)), across), down
    left, top = (across - new_width) // 2, (down - new_height) // 2
    per_side = side // patch
    return Frame(image_size, left, top, new_width, new_height), down // side * per_side, across // side * per_side


def shown_tiles(frame: Frame, rows: int, columns: int, side: int, patch: int) -> tuple[Box, ...]:
    """What each tile of a canvas of rows x columns patches shows of the picture, without those of padding alone."""
    per_side = side // patch
    return tuple(box for box in frame.grid(rows // per_side, columns // per_side, side) if box)


def unpadded(image_size: tuple[int, int], rows: int, columns: int) -> tuple[int, int, int, int]:
    """First row, rows, first column and columns that the model keeps of a padded grid (`unpad_image`)."""
    width, height = image_size
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return padding, rows - 2 * padding, 0, columns
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return 0, rows, padding, columns - 2 * padding
