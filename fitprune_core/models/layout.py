"""Where the visual tokens of a picture lie: in the picture itself, in pixels of the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fitprune_core.models.family import family_of

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VisualLayout:
    """What each visual token of one picture shows. Boxes are (left, top, right, bottom) in pixels of the original.

    Attributes:
        image_size: (width, height) of the picture, after EXIF rotation.
        boxes: for each token the part of the picture it shows, or None where it shows none (a line's end, padding).
        rows, columns: of the main grid: the only one, or that of the tiles.
        seen: the part of the picture that the model saw; the rest was cropped away.
        aspect: what became of the picture's aspect ratio: "crop", "pad", "stretch", "anyres" (tiles) or "native"
            (its own shape, to within a patch).
        views: for each token "grid" (the only view), "base" (the whole picture beside its tiles), "tile", "newline"
            (the end of a line of tiles), "break" (Pixtral's end of a line) or "class" (a tower's class token).
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
class Frame:
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

    model_config: the composite configuration; processor: the model's; image_size: (width, height) after EXIF rotation.
    It follows the arithmetic of transformers' image processors, to within 0.1 patch. Raises ValueError for an empty
    picture, and for a model of no known family.
    """
    width, height = image_size
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} x {height} pixels shows nothing")
    return family_of(model_config).layout(model_config, processor, (width, height))


def image_aspect(model_config: Any, processor: Any) -> str:
    """What becomes of a picture's aspect ratio, as in `VisualLayout.aspect`."""
    return family_of(model_config).image_aspect(model_config, processor)
