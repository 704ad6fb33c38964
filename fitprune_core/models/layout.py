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
            (the end of a line of tiles) or "class" (a tower's class token).
        tiles: the part of the picture that each tile shows, row by row. Tokens of view "tile" follow one another tile
            by tile; where there are newlines, line by line across the tiles.
        merge: patches across a token, and down: 2 where it stands for 2 x 2 of them.
        row_ends: tokens after which a token of text ends the row (Pixtral); like all text it is never dropped.
    """

    image_size: tuple[int, int]
    boxes: tuple[Box | None, ...]
    rows: int
    columns: int
    seen: Box
    aspect: str
    views: tuple[str, ...]
    tiles: tuple[Box, ...] = ()
    merge: int = 1
    row_ends: tuple[int, ...] = ()

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

    def clipped(self, left: float, top: float, right: float, bottom: float) -> Box:
        """A rectangle of the tower's input in pixels of the picture, clipped to it."""
        across, down = self.image_size[0] / self.width, self.image_size[1] / self.height
        x0, x1 = ((min(max(x - self.left, 0), self.width)) * across for x in (left, right))
        y0, y1 = ((min(max(y - self.top, 0), self.height)) * down for y in (top, bottom))
        return x0, y0, x1, y1

    def box(self, left: float, top: float, right: float, bottom: float) -> Box | None:
        """As `clipped`, and None where nothing is left."""
        x0, y0, x1, y1 = clipped = self.clipped(left, top, right, bottom)
        return clipped if x0 < x1 and y0 < y1 else None

    def grid(self, rows: int, columns: int, patch: int, first_row: int = 0, first_column: int = 0) -> list[Box | None]:
        """The boxes of a grid of patches, row by row."""
        return [
            self.box(column * patch, row * patch, (column + 1) * patch, (row + 1) * patch)
            for row in range(first_row, first_row + rows)
            for column in range(first_column, first_column + columns)
        ]


def tiles_layout(
    image_size: tuple[int, int], rows: int, columns: int, side: int, per_side: int, merge: int, aspect: str
) -> VisualLayout:
    """A picture stretched to rows x columns of tiles, whose tokens come tile by tile, then the whole picture's own.

    side: of a tile, in pixels; per_side: tokens across a tile; merge, aspect: as in `VisualLayout`. A single tile is
    the whole picture, and there is no other view of it.
    """
    width, height = image_size
    whole = (0.0, 0.0, float(width), float(height))
    token = side // per_side
    if rows * columns == 1:
        grid = Frame(image_size, 0, 0, side, side).grid(per_side, per_side, token)
        views = ("grid",) * per_side**2
        return VisualLayout(image_size, tuple(grid), per_side, per_side, whole, aspect, views, merge=merge)
    frame = Frame(image_size, 0, 0, columns * side, rows * side)
    places = [(row * per_side, column * per_side) for row in range(rows) for column in range(columns)]
    boxes = [box for place in places for box in frame.grid(per_side, per_side, token, *place)]
    boxes += Frame(image_size, 0, 0, side, side).grid(per_side, per_side, token)
    views = ("tile",) * (rows * columns * per_side**2) + ("base",) * per_side**2
    tiles = tuple(box for box in frame.grid(rows, columns, side) if box)
    shape = (rows * per_side, columns * per_side)
    return VisualLayout(image_size, tuple(boxes), *shape, whole, aspect, views, tiles, merge)


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
