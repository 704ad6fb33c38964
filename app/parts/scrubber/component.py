"""The layer scrubber: which patches of the picture are left after each layer, drawn in the browser."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Trace(GradioModel):
    """One pruned run over one picture; pruning never brings a token back, so one layer a token says it all.

    Attributes:
        image: the whole picture, scaled down, as a data URI.
        width, height: of the original picture, in pixels; boxes and `seen` are in these.
        seen: left, top, right, bottom of the part that the model saw.
        boxes: per visual token, the same; None for a token that shows no part of the picture.
        views: per visual token, "grid", "base", "tile", "newline" or "class".
        rows, columns: of the grid (or of the tiles).
        tiles: boxes of the tiles; tokens follow one another tile by tile, or where there are newlines line by line.
        merge: patches across a token.
        row_ends: visual tokens after which a token of text, never dropped, ends the row.
        layers: decoder layers.
        dropped_after: per visual token, the layer (from 0) that dropped it, -1 if it never reached the first, or
            `layers` if none did.
        rank: per visual token, its place from the bottom among those dropped with it, from 1; 0 if it was kept.
        tokens: per layer, visual tokens that leave it.
        original_gflops, pruned_gflops: per layer, spent on visual tokens.
    """

    image: str
    width: int
    height: int
    seen: list[float]
    boxes: list[list[float] | None]
    views: list[str]
    rows: int
    columns: int
    tiles: list[list[float]] = []
    merge: int = 1
    row_ends: list[int] = []
    layers: int
    dropped_after: list[int]
    rank: list[int]
    tokens: list[int]
    original_gflops: list[float]
    pruned_gflops: list[float]


class Scrubber(BrowserComponent):
    folder = Path(__file__).resolve().parent
    scripts = ("geometry.js", "paint.js", "chart.js")
    data_model = Trace
