"""The two answers, and between them what pruning saved."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Row(GradioModel):
    """One figure of both runs. `*_share` is the length of its bar, 0 to 1; `about` says what it is.

    pending: it is being measured. note: said in place of figures, where there are none.
    """

    label: str
    about: str
    original: str = ""
    pruned: str = ""
    ratio: str = ""
    word: str = ""
    original_share: float = 0.0
    pruned_share: float = 0.0
    pending: bool = False
    note: str = ""


class Card(GradioModel):
    """One answer.

    Attributes:
        name: what answers; percent: at which budget, None for the model as it is.
        state: "idle", "queued", "waiting" (for the other), "running" or "done".
        mark: "right", "wrong", or "" if nobody knows.
        pieces: what the answer is put together from, [text, "1" where its words differ from the other answer's or ""];
            one for each token where `has_tokens`.
        doubt: what speaks against the answer though nobody has looked at the other one, or "".
    """

    name: str = ""
    percent: float | None = None
    answer: str = ""
    pieces: list[list[str]] = []
    has_tokens: bool = False
    state: str = "idle"
    mark: str = ""
    doubt: str = ""


class Board(GradioModel):
    """All that the component shows.

    Attributes:
        state: "idle", "running", "measuring" (all is there but the times) or "done".
        percent, question, picture, sides: what was asked, at which budget, the picture's key (`Upload.key`), and that
            of the sides (`Sides.key`).
        verdict: "same", "different" or "".
        truth, sentence: texts.
        can_look: whether tokens can be looked at: then a click on one fires `look` with its side (0 or 1) and index.
        model: what answered; origin: "Made beforehand", "A saved comparison" or "Made elsewhere", "" for what ran here.
        link: what the page's address must ask for to show this again, "example=2&question=...", or "" if it cannot.
    """

    state: str
    percent: float
    question: str = ""
    picture: str = ""
    sides: str = ""
    original: Card
    pruned: Card
    rows: list[Row]
    verdict: str = ""
    truth: str = ""
    sentence: str = ""
    can_look: bool = False
    model: str = ""
    origin: str = ""
    link: str = ""


class Answers(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Board
