"""The history of a visitor's session: their browser keeps it; this hands comparisons over, and shows them again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from app import figures
from app.asking.asked import link_to
from app.asking.scenes import Example, linked, true_answer
from app.asking.sides import sides_if_known
from app.budgets import LARGEST_PERCENT
from app.door.uploads import Upload
from app.pages.compare.keeping import Export
from app.pages.compare.page import ComparePage
from app.pages.compare.showing import PICTURE_NOT_HERE, closing_words, key_of, showing
from app.pages.wiring import AT_ONCE, told
from app.parts.answers import Board
from app.parts.history import Finished, History
from app.parts.notice import Message
from app.parts.sides import Chosen
from app.showing.presentation import done_board, is_painted
from app.words import sentence
from fitprune_core import Comparison
from fitprune_core.report.reading import parse_export
from fitprune_core.run.results import ORIGINAL


class Remembering:
    """What these events do. Handlers return {component: value}; what they leave out stays as it is."""

    def __init__(self, page: ComparePage, history: History) -> None:
        self.page, self.history = page, history

    def remember(self, found: Export | None, shown: dict[str, Any]) -> dict:
        """Hand what is shown now to the visitor's browser."""
        if found is None or found.data is None:
            return {self.history: gr.skip()}
        return {
            self.history: Finished(
                text=found.text, link=shown["link"], picture=shown["picture"], origin=shown.get("origin", "")
            )
        }

    def reopen(self, event: gr.EventData, picture: Upload | None, request: gr.Request) -> dict:
        """Show a remembered comparison again, with its picture where it is an example, a scene, or still in its place.

        It comes back from a browser, so it is looked at like any file from outside.
        """
        parts = self.page.parts
        self.page.make_way(request)
        text, link, key = (str(told(event, name) or "") for name in ("text", "link", "picture"))
        try:
            self.page.count(request)
            comparison, trace = parse_export(text)
            example = self._example_of(link, comparison.question) or self._example_shown(key, comparison.question)
            truth = None if example is None else true_answer(example.seed, comparison.question)
            sides = sides_if_known(comparison)
            board = done_board(comparison, truth, sides=sides, doubts=self.page.engine.doubts(comparison))
            if example is not None:
                about = (example.seed, board.question, board.percent, sides)
                link = link_to(self.page.examples, *about, is_own=self._is_own(comparison))
                board = board.model_copy(update={"link": link})
            board, begun = self._begin(board, example, picture, key)
            has_picture = begun.get(parts.picture, picture) is not None
            again = f"Shown again, by {comparison.model} on {comparison.device}."
            words = closing_words(comparison, again if has_picture else f"{again} {PICTURE_NOT_HERE}")
            shown = showing(self.page, comparison, trace, board, words)
        except ValueError as error:  # pydantic's errors are such, too
            reason = sentence(f"This comparison cannot be shown again: {str(error).splitlines()[0]}")
            return {parts.notice: Message.wrong(reason)}
        return {
            **shown,
            **begun,
            parts.question: comparison.question,
            parts.percent: board.percent,
            parts.sides: Chosen.of(sides),
        }

    def _is_own(self, comparison: Comparison) -> bool:
        """Whether a visitor had a part in a comparison that no address tells: patches that were painted, a recipe."""
        sides = [side for side in (comparison.against, comparison) if side is not None and side.method != ORIGINAL]
        percents = [figures.percent(side.reduction) for side in sides]
        return is_painted(*sides) or any(
            percent > LARGEST_PERCENT or side.recipe != self.page.engine.recipe_for(percent)
            for side, percent in zip(sides, percents, strict=True)
        )

    def _begin(self, board: Board, example: Example | None, picture: Upload | None, key: str) -> tuple[Board, dict]:
        """The board with its picture's key, and the picture to set. picture: the one that is there now."""
        parts = self.page.parts
        if example is not None:
            board = board.model_copy(update={"picture": key_of(example.picture) or key})
            return board, {parts.picture: example.shown, parts.seed: example.seed}
        if picture is not None and picture.key and picture.key == key:
            return board.model_copy(update={"picture": key}), {parts.seed: None}
        return board, {parts.picture: None, parts.seed: None}

    def _example_of(self, link: str, question: str) -> Example | None:
        """The example or scene that a link leads to. Raises ValueError as `linked` does."""
        example = linked(self.page.examples, dict(parse_qsl(link)))
        return None if example is None else replace(example, question=question)

    def _example_shown(self, key: str, question: str) -> Example | None:
        """The example whose picture has a key: of what was painted there is no link."""
        found = (each for each in self.page.examples if key and key_of(each.picture) == key)
        return next((replace(each, question=question) for each in found), None)


def create_history(page: ComparePage) -> Remembering:
    """Wire what the history does, inside the current Blocks."""
    parts, history = page.parts, page.tools.history
    remembering = Remembering(page, history)
    # A run ends with what was found. What is shown without a run comes without Gradio's queue, which alone tells that a
    # state has changed; of that the layers are new.
    gr.on(
        [parts.found.change, parts.scrubber.change],
        remembering.remember,
        [parts.found, parts.shown],
        history,
        **AT_ONCE,
    )
    history.reopen(remembering.reopen, parts.picture, page.all_shown, **AT_ONCE)
    return remembering
