"""Show a comparison that nothing runs for: one made beforehand, elsewhere, or earlier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradio.processing_utils import hash_file

from app.asking.objects import with_asked_object
from app.asking.scenes import Example, link_of, true_answer
from app.parts.answers import Board
from app.parts.lens import Lens
from app.parts.notice import Message
from app.parts.scrubber import Trace
from app.precomputed import Ready
from app.showing.presentation import UNMEASURED, done_board
from app.words import sentence
from fitprune_core import Comparison
from fitprune_core.report.export import entries_of
from fitprune_core.report.trace import trace_of

BEFOREHAND = "Made beforehand"
# The picture of an exported comparison is a copy of 640 pixels, made to be looked at: a model would see in it something
# else than what was answered about.
PICTURE_NOT_HERE = (
    "A saved comparison has a small copy of its picture: to ask about it here, upload the picture, and press Run."
)

_LONGEST_BOARD = 2**18  # characters; a session keeps them, and two answers of 4,096 tokens take about half


def closing_words(comparison: Comparison, origin: str = "") -> Message:
    """Where a result comes from, if not from here, what speaks against its recipe, and how it was measured."""
    words = [origin, *map(sentence, comparison.warnings), f"Timing: {comparison.timing}"]
    return Message(text=" ".join(filter(None, words)), kind="warning" if comparison.warnings else "info")


def showing(page: Any, comparison: Comparison, trace: dict[str, Any], board: Board, message: Message) -> dict:
    """What to set of the `ComparePage`.

    Raises ValueError (pydantic's are such) for a trace that cannot be drawn, and for texts longer than any model's.
    """
    parts = page.parts
    if (size := len(board.model_dump_json())) > _LONGEST_BOARD:
        raise ValueError(f"its question and answers take {size:,} characters; here they may take {_LONGEST_BOARD:,}")
    return {
        parts.board: board,
        parts.scrubber: Trace(**trace),
        parts.shown: board.model_dump(),
        parts.found: page.exports.keep(entries_of(comparison, trace, judged_of(board))),
        parts.subject: None,
        parts.lens: Lens(),
        parts.notice: message,
    }


def showing_ready(page: Any, example: Example, ready: Ready) -> dict:
    """Of an example whose comparison was made beforehand: what a run would have shown, but for the times."""
    parts, comparison = page.parts, ready.comparison
    truth = true_answer(example.seed, example.question)
    doubts = page.engine.doubts(comparison)
    board = done_board(comparison, truth, times=UNMEASURED, picture=key_of(example.picture), doubts=doubts)
    link = link_of(page.examples, example.seed, example.question, board.percent)
    board = board.model_copy(update={"link": link, "origin": BEFOREHAND})
    words = f"{BEFOREHAND}, on {ready.made}, on {comparison.device}. Press Run to answer here."
    trace = trace_of(comparison, example.open(), page.engine.geometry)
    shown = showing(page, comparison, trace, board, Message(text=words))
    marked = with_asked_object(shown[parts.scrubber], example.seed, example.question)
    return {**shown, parts.scrubber: marked, parts.is_ready: True}


def judged_of(board: Board) -> dict[str, Any] | None:
    """What a saved file says of the true answer, see `to_entries`; None where nobody knows it."""
    marks = [board.original.mark, board.pruned.mark]
    return {"marks": marks, "truth": board.truth} if board.truth else None


def key_of(picture: Path | None) -> str:
    """The key, see `Upload.key`, that a file of this server has once Gradio has put it into its folder."""
    return "" if picture is None else f"{hash_file(picture)}/{picture.name}"
