"""The layer scrubber: which patches of the picture are left after each layer, drawn in the browser.

Its page fragment and scripts are the library's, which puts them into exported pages too.
"""

from __future__ import annotations

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent
from fitprune_core.report.export import VIEW


class Side(GradioModel):
    """What one side did to the tokens of a picture, see `trace_of`. Pruning never brings a token back: one layer a
    token will do.
    """

    name: str = ""
    dropped_after: list[int]
    rank: list[int]
    tokens: list[int]
    pruned_gflops: list[float]


class AskedObject(GradioModel):
    """What a question about a scene names, and the tokens that show it."""

    name: str
    tokens: list[int]


class Trace(Side):
    """A picture, and one pruned run over it, or two. asked: of a scene, what the question is about."""

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
    original_gflops: list[float]
    against: Side | None = None
    asked: AskedObject | None = None


class Scrubber(BrowserComponent):
    """The component. Patches that were painted fire `paint` with `stay` and `go`, lists of tokens by number."""

    folder = VIEW / "scrubber"
    scripts = ("geometry.js", "paint.js", "brush.js", "chart.js")
    styles = ("swatches.css",)
    data_model = Trace
