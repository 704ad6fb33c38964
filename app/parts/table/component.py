"""Many questions, and what each side answered: filtered, sorted, read and exported in the browser.

A row that is chosen fires `look` with its index, and one that is opened `open` with its index and the side's.
"""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Sum(GradioModel):
    """One side over some questions.

    right, same: [right, of how many, low, high], the last two the 95 % interval of the share, 0 to 1; empty where
    nothing is known. against: the paired test against the original, in words. gflops: mean of the visual FLOPs, 1e9.
    """

    right: list[float] = []
    same: list[float] = []
    against: str = ""
    gflops: float | None = None


class TableData(GradioModel):
    """All that the component shows.

    title: what the answers are of; fingerprint: the same for the same questions and answers, so that tags and notes are
    found again. sides: their names, the original first; placed: where the method of each drops, in words, "" where
    there is nothing to say.
    rows: [id, kind, question, right answer] of each question. answers: those of each side. marks, same: a character a
    question for each side: "1" right, "0" wrong, "-" not known, " " no answer; "1" as the original, "0" not, " ".
    side, show: what is shown first: the number of a side, 0 for the one after the original; a filter of rows.js.
    margins: of each side by how much each answer's least sure token led the next likeliest, 0 to 1, -1 where it does
    not say; empty where no side says it. sums: by kind, that of all questions under "". has_pictures: whether a row can
    be looked at and opened.
    """

    title: str = ""
    fingerprint: str = ""
    sides: list[str] = []
    placed: list[str] = []
    rows: list[list[str]] = []
    answers: list[list[str]] = []
    marks: list[str] = []
    same: list[str] = []
    margins: list[list[float]] = []
    sums: dict[str, list[Sum]] = {}
    has_pictures: bool = False
    side: int = 0
    show: str = "all"


class Table(BrowserComponent):
    folder = Path(__file__).resolve().parent
    scripts = ("../excerpt.js", "../lines.js", "rows.js", "page.js", "plot.js")
    data_model = TableData
