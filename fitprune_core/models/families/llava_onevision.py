"""LLaVA-OneVision (arXiv 2408.03326): LLaVA-NeXT's views, but a picture of many tiles is brought down to fewer tokens.

Where the tiles hold more tokens than the largest number allowed (`anyres_max_9`: nine tiles'), the model interpolates
their features to a smaller grid, so that a token covers more than one patch.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from transformers import LlavaOnevisionProcessor, ProcessorMixin

from fitprune_core.cost.tower import class_tokens
from fitprune_core.models.families.llava_next import LlavaNext, shown_tiles, tiled_canvas, unpadded
from fitprune_core.models.layout import Frame, VisualLayout
from fitprune_core.models.processors import check_image_token, load_without_video, set_logged

# transformers shrinks the grid only where it exceeds the largest by more than this, in each direction.
_SHRINKS_ABOVE = 1.1


class LlavaOnevision(LlavaNext):
    """`LlavaOnevisionForConditionalGeneration`, on one picture; its videos are not read here."""

    name = "LLaVA-OneVision"
    model_types = ("llava_onevision",)
    classes = ("LlavaOnevisionForConditionalGeneration",)

    def load_processor(self, source: str) -> ProcessorMixin:
        return load_without_video(LlavaOnevisionProcessor, source)

    def prepare_processor(self, processor: ProcessorMixin, config: Any) -> None:
        vision = config.vision_config
        strategy = self.select_strategy(config)
        _most_tiles(config)
        views = (vision.image_size // vision.patch_size) ** 2
        set_logged(processor, "num_image_tokens", views + class_tokens(vision))
        set_logged(processor, "vision_feature_select_strategy", strategy)
        set_logged(processor, "vision_aspect_ratio", config.vision_aspect_ratio)
        self.prepare_image_processor(processor.image_processor, config)
        size = processor.image_processor.size
        if (size.height, size.width) != (vision.image_size, vision.image_size):
            raise ValueError(
                f"the image processor makes views of {size.width} x {size.height} pixels; the vision tower reads "
                f"{vision.image_size} x {vision.image_size}."
            )
        check_image_token(processor, config)

    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        """As LLaVA-NeXT's, with tokens larger than a patch where the model shrinks the grid of the tiles."""
        width, height = image_size
        side, patch = config.vision_config.image_size, config.vision_config.patch_size
        per_side = side // patch
        base = Frame(image_size, 0, 0, side, side).grid(per_side, per_side, patch)
        boxes, views = list(base), ["base"] * per_side**2
        frame, rows, columns = tiled_canvas(config.image_grid_pinpoints, image_size, side, patch)
        first_row, rows_kept, first_column, columns_kept = unpadded(image_size, rows, columns)
        lines, places = shrunk(rows_kept, columns_kept, _most_tiles(config) * per_side**2)
        lines_at, places_at = (
            [_pixels(first + at * kept / count, side, patch) for at in range(count + 1)]
            for first, kept, count in ((first_row, rows_kept, lines), (first_column, columns_kept, places))
        )
        for top, bottom in pairwise(lines_at):
            boxes += [frame.box(left[1], top[1], right[0], bottom[0]) for left, right in pairwise(places_at)]
            boxes.append(None)
            views += ["tile"] * places + ["newline"]
        whole = (0.0, 0.0, float(width), float(height))
        shown = shown_tiles(frame, rows, columns, side, patch)
        return VisualLayout(image_size, tuple(boxes), lines, places, whole, "anyres", tuple(views), shown)


def _pixels(patches: float, side: int, patch: int) -> tuple[float, float]:
    """Where so many patches of a row of views end, and where the next begins, in pixels of the canvas.

    They differ at the edge between two views, whose last pixels may be in no patch (SigLIP's 384 are 27 patches of 14).
    """
    view, inside = divmod(patches, side // patch)
    begins = view * side + inside * patch
    return (begins if inside else begins - side % patch), begins


def shrunk(rows: int, columns: int, most: int) -> tuple[int, int]:
    """Rows and columns of the tiles' tokens, brought down to about `most` in all (`pack_image_features`)."""
    ratio = math.sqrt(rows * columns / most)
    return (int(rows // ratio), int(columns // ratio)) if ratio > _SHRINKS_ABOVE else (rows, columns)


def _most_tiles(config: Any) -> int:
    """The N of "anyres_max_N". Raises ValueError for another way to read a picture's shape."""
    kind, _, number = str(config.vision_aspect_ratio).rpartition("_")
    if kind != "anyres_max" or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"vision_aspect_ratio is {config.vision_aspect_ratio!r}; it must be anyres_max_ and a number.")
    return int(number)
