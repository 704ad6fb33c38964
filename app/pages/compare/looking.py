"""A token of an answer on the Compare page, looked at: what else might have come there, and where each side looked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial

import gradio as gr

from app.asking.asked import Subject
from app.pages.compare.page import ComparePage
from app.pages.wiring import QUIET, number_or_none
from app.parts.lens import Lens
from app.parts.notice import Message
from app.showing.lens import look_at
from app.visitors.visits import Waiting, address_of, looker, visit
from app.words import failure


class Looking:
    """What a click on a token does."""

    def __init__(self, page: ComparePage) -> None:
        self.page = page

    async def look(
        self, event: gr.EventData, subject: Subject | None, before: Message | None, request: gr.Request
    ) -> AsyncGenerator[dict, None]:
        """Look at the token that was clicked, of what is shown, when it is the visitor's turn.

        before: what the notice said; it comes back after words about waiting, unless it told of a failure.
        """
        parts, line = self.page.parts, self.page.engine.line
        failed = before is not None and before.kind == "error"
        after = {parts.notice: Message(text="") if before is None or failed else before}
        has_waited = False
        try:
            if subject is None:
                raise ValueError("this comparison came from a file: run it here to look at its tokens")
            side, index = _token_of(event, subject)
            place = line.join(looker(request), address_of(request))
            work = partial(self._work, subject, side, index)
            picture = subject.asked.picture
            async with contextlib.aclosing(visit(line, place, work, picture.held())) as items:
                async for item in items:
                    if isinstance(item, Lens):
                        yield {parts.lens: item, **(after if failed or has_waited else {})}
                    elif isinstance(item, Waiting) and not item.is_turn:
                        has_waited = True
                        yield {parts.notice: Message(text=item.in_words())}
        except Exception as error:
            yield {parts.notice: Message.wrong(failure(error, "a look at a token"))}

    def _work(
        self, subject: Subject, side: int, index: int, should_stop: Callable[[], bool]
    ) -> Generator[Lens, None, None]:
        image = subject.asked.picture.open()
        if not should_stop():
            yield from look_at(self.page.engine, image, subject, side, index, should_stop, clicked=True)


def _token_of(event: gr.EventData, subject: Subject) -> tuple[int, int]:
    """The side and the number of the token that was clicked. Raises ValueError for one that is not there."""
    side = number_or_none(event, "side", 2)
    index = None if side is None else number_or_none(event, "index", len(subject.token_ids[side]))
    if side is None or index is None:
        raise ValueError("there is no such token in this answer")
    return side, index


def create_looking(page: ComparePage) -> None:
    """Wire the clicks on tokens; inside the current Blocks."""
    parts = page.parts
    parts.board.look(
        Looking(page).look,
        [parts.subject, parts.notice],
        [parts.lens, parts.notice],
        trigger_mode="multiple",
        concurrency_limit=None,
        **QUIET,
    )
