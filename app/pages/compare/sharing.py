"""What can be done with a comparison on the Compare page: save it, and open one that was saved, here or elsewhere."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import gradio as gr

from app.asking.sides import sides_if_known
from app.pages.compare.history import create_history
from app.pages.compare.keeping import Export
from app.pages.compare.page import ComparePage
from app.pages.compare.showing import PICTURE_NOT_HERE, closing_words, showing
from app.pages.wiring import AT_ONCE, QUIET, number_or_none, told
from app.parts.answers import Board
from app.parts.notice import Message
from app.parts.saver import Saved, Saver
from app.parts.sides import Chosen
from app.showing.presentation import done_board
from app.words import sentence
from fitprune_core.checks.files import EXPORTS
from fitprune_core.report.export import exported
from fitprune_core.report.reading import read_export

_DRAWN_AT_ONCE = 2  # animations that are drawn at the same time: each takes a second or two of a processor


class Sharing:
    """What these events do. Handlers return {component: value}; what they leave out stays as it is."""

    def __init__(self, page: ComparePage, saver: Saver) -> None:
        self.page, self.saver = page, saver

    def save(self, event: gr.EventData, found: Export | None) -> dict:
        """Hand the comparison that is shown over as a file; of a picture, with the layer that is shown."""
        notice, ending = self.page.parts.notice, told(event, "ending")
        layer = told(event, "layer")
        if found is None:
            message = Message.wrong("There is nothing to save yet: run a comparison first.")
            return {self.saver: Saved.of(), notice: message}
        try:
            if ending not in EXPORTS:
                raise ValueError(f"a comparison is saved as one of {', '.join(EXPORTS)}")
            name = f"fitprune-comparison{ending}"
            data = exported(found.entries(), ending, layer - 1 if isinstance(layer, int) and layer else None)
        except ValueError as error:
            message = Message.wrong(sentence(f"This comparison cannot be saved: {error}"))
            return {self.saver: Saved.of(), notice: message}
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return {self.saver: Saved.of(name, kind, data), notice: Message(text=f"Saved as {name}.")}

    def open(self, path: str | None, request: gr.Request) -> dict:
        """Show a comparison that was saved, by whatever model; nothing runs."""
        parts = self.page.parts
        if path is None:
            return {parts.notice: Message(text="No file was chosen.")}
        return self._show(Path(path), "A saved comparison", request)

    def visit(self, event: gr.EventData, request: gr.Request) -> dict:
        """Show a comparison of the gallery; nothing runs."""
        gallery = self.page.gallery
        index = number_or_none(event, "index", len(gallery))
        if index is None:
            return {self.page.parts.notice: Message.wrong("There is no such comparison in the gallery.")}
        return self._show(gallery[index].path, "Made elsewhere", request)

    def _show(self, path: Path, origin: str, request: gr.Request) -> dict:
        """Show the comparison of an exported file, or say why it cannot be shown. origin: where it comes from."""
        parts = self.page.parts
        self.page.make_way(request)
        try:
            self.page.count(request)
            comparison, trace = read_export(path)
            sides = sides_if_known(comparison)
            doubts = self.page.engine.doubts(comparison)
            board = done_board(comparison, None, sides=sides, doubts=doubts)
            board = _marked(board, origin)
            made = f"{origin}, by {comparison.model} on {comparison.device}. {PICTURE_NOT_HERE}"
            words = closing_words(comparison, made)
            shown = showing(self.page, comparison, trace, board, words)
        except ValueError as error:  # pydantic's errors are such, too
            return {parts.notice: Message.wrong(sentence(str(error).splitlines()[0]))}
        return {
            **shown,
            parts.picture: None,
            parts.question: comparison.question,
            parts.percent: board.percent,
            parts.sides: Chosen.of(sides),
            parts.seed: None,
        }


def _marked(board: Board, origin: str) -> Board:
    """A board whose sentence says first where it comes from: the page's own model stands above it."""
    return board.model_copy(update={"sentence": f"{origin}, by {board.model}. {board.sentence}", "origin": origin})


def create_sharing(page: ComparePage) -> Sharing:
    """Wire what the page's tools do, inside the current Blocks."""
    parts, opened, saver = page.parts, page.tools.opened, page.tools.saver
    create_history(page)
    sharing = Sharing(page, saver)
    opened.upload(sharing.open, opened, page.all_shown, **AT_ONCE)
    parts.made_elsewhere.pick(sharing.visit, None, page.all_shown, **AT_ONCE)
    saved = saver.save(
        sharing.save,
        parts.found,
        [saver, parts.notice],
        concurrency_limit=_DRAWN_AT_ONCE,
        concurrency_id="drawing",
        **QUIET,
    )
    saved.failure(Saved.of, None, saver, **AT_ONCE)  # the menu waits for a value
    return sharing
