"""One question answered by many methods at many budgets. A cell that is clicked fires `open` with both."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Cell(GradioModel):
    """One answer. same: it is the original's; right: it is the true one, None where that is not known; left: visual
    tokens at the end; gflops: visual FLOPs, 1e9.

    margin: how much likelier its least sure token was than the next likeliest; None where that is not known.
    """

    answer: str
    same: bool
    right: bool | None = None
    left: int
    gflops: float
    margin: float | None = None


class GridData(GradioModel):
    """All that the component shows.

    question, picture: what was asked about what (a data URI); original: the unpruned answer; right, gflops, margin: as
    in `Cell`, of that. cells: one row a method of `methods`, one cell a budget of `percents`; None for what is not
    answered yet. placed: of each method where it drops, "" where there is nothing to say.
    """

    question: str = ""
    picture: str = ""
    original: str = ""
    truth: str = ""
    right: bool | None = None
    gflops: float = 0.0
    margin: float | None = None
    methods: list[str] = []
    placed: list[str] = []
    percents: list[float] = []
    cells: list[list[Cell | None]] = []


class Grid(BrowserComponent):
    folder = Path(__file__).resolve().parent
    scripts = ("holds.js", "../excerpt.js", "../lines.js", "plot.js")
    data_model = GridData
