"""What the Compare page does: a run, an example, a saved comparison; each handler says which components change."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import gradio as gr

from app.asking.asked import Asked, Subject, painted
from app.asking.gallery import Exhibit
from app.asking.inputs import Picture, check_request
from app.asking.objects import with_asked_object
from app.asking.scenes import Example, KnownAnswer, linked, new_scene, true_answer
from app.asking.sides import Sides, sides_asked
from app.door.uploads import Upload
from app.engine import Engine
from app.pages.compare.keeping import Export, Exports
from app.pages.compare.showing import PICTURE_NOT_HERE, closing_words, judged_of, showing_ready
from app.pages.compare.tools import Tools
from app.pages.wiring import told, told_number
from app.parts.answers import Answers, Board
from app.parts.curves import recipes_of
from app.parts.lens import Lens, TokenLens
from app.parts.notice import Message, Notice
from app.parts.picker import Picker
from app.parts.scrubber import Scrubber, Trace
from app.parts.sides import Chosen, SidesPicker
from app.precomputed import Ready
from app.showing.lens import look_at
from app.showing.presentation import (
    MEASURED,
    MEASURING,
    UNMEASURED,
    done_board,
    queued_board,
    running_board,
    trace_of,
)
from app.visitors.visits import Waiting, address_of, looker, sweeper, visit
from app.words import failure, sentence
from app.zero_gpu import is_zero_gpu
from fitprune_core import Answered, Comparison, Partial
from fitprune_core.pruning.paint import UNPAINTED, Paint
from fitprune_core.report.export import to_entries

FIRST_PERCENT = 60
_BEAT = 0.06  # seconds between two updates of a streaming answer, so that the browser keeps up
READY = "Pick an example, or give a picture of your own and ask about it."
# Seconds that a run which has ended may take to say so: it looks ten times a second.
_LONGEST_LAST_WORD = 2.0
_MEASURING = "The times are being measured…"
_BEFORE = "The result shown is the one from before."
_UNTIMED = "Both answers are there, but the times were not measured."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The components that events read and write.

    `seed` is that of the scene, if it is one, or a `KnownAnswer`; `shown` is a done board, `found` the export that is
    saved of it, and `subject` what its tokens are looked at by. `is_ready`: what was begun is shown already, and need
    not run. `own`: the visitor's recipes, as the page Recipes draws them.
    """

    picture: Picture
    picker: Picker
    new_scene: gr.Button
    made_elsewhere: Picker
    question: gr.Textbox
    percent: gr.Slider
    sides: SidesPicker
    run: gr.Button
    stop: gr.Button
    notice: Notice
    board: Answers
    lens: TokenLens
    scrubber: Scrubber
    seed: gr.State
    shown: gr.State
    found: gr.State
    is_ready: gr.Checkbox
    subject: gr.State
    own: gr.State


@dataclass(frozen=True)
class Found:
    """A comparison as it is exported, and what its tokens are looked at by: nothing, where its picture is in no file.
    Pages upload theirs; a picture that came as text would be kept in memory as long as its session.
    """

    export: Export
    subject: Subject | None


@dataclass(frozen=True)
class Result:
    """What a run has found. kept, ended: the board to show and the words to say should nothing more come; no words
    where all has come.

    found: what is saved of it, once nothing more comes; lens: the first token that was looked at.
    """

    board: Board
    kept: Board
    message: Message
    found: Found
    trace: Trace | None = None
    ended: str = ""
    lens: Lens | None = None


class ComparePage:
    """What the page's events do. Handlers yield {component: value}; what they leave out stays as it is."""

    parts: Parts  # set by `create_compare`, once the components are there
    tools: Tools

    def __init__(
        self,
        engine: Engine,
        examples: tuple[Example, ...],
        gallery: tuple[Exhibit, ...] = (),
        ready: Mapping[Example, Ready] = MappingProxyType({}),
    ) -> None:
        self.engine, self.examples, self.gallery, self.ready = engine, examples, gallery, ready
        self.exports = Exports(engine.limits.kept_bytes)

    @property
    def begun_with(self) -> list[gr.components.Component]:
        """What an example sets, and the notice."""
        parts = self.parts
        return [parts.picture, parts.question, parts.seed, parts.percent, parts.sides, parts.notice]

    @property
    def all_shown(self) -> list[gr.components.Component]:
        """What a comparison sets that is shown without a run."""
        parts = self.parts
        shown = [parts.board, parts.lens, parts.scrubber, parts.shown, parts.found, parts.subject]
        return [*shown, parts.is_ready, *self.begun_with]

    async def run(
        self,
        picture: Upload | None,
        question: str,
        percent: float,
        seed: int | KnownAnswer | None,
        shown: dict[str, Any],
        request: gr.Request,
        chosen: Chosen | None = None,
        own: Sequence[dict[str, Any]] = (),
        paint: Paint = UNPAINTED,
    ) -> AsyncGenerator[dict, None]:
        """Answer, streaming, by the sides that were chosen. Whatever goes wrong is told in the notice, and the result
        from before comes back.

        A visitor has one run: what they began before ends here, silently. own: their recipes; paint: patches that
        must stay, or go.
        """
        kept, ended, found = Board(**shown), "Stopped.", None
        self.end(request, replaced=True)
        self.engine.line.end(sweeper(request))
        try:
            if picture is None and kept.state == "done" and not kept.picture:
                raise ValueError(f"The picture that is shown below cannot be asked about. {PICTURE_NOT_HERE}")
            picture, question = check_request(picture, question, percent, self.engine.limits)
            sides = chosen.sides(recipes_of(own)) if chosen else Sides()
            asked = Asked(picture, question, percent, seed, sides, paint)
            place = self.engine.line.join(str(request.session_hash), address_of(request))
            work = partial(self._work, asked)
            async with contextlib.aclosing(visit(self.engine.line, place, work, picture.held())) as items:
                async for item in items:
                    if isinstance(item, Result):
                        kept, ended, found = item.kept, item.ended, item.found
                    yield self._update(item, asked)
        except Exception as error:
            which = _BEFORE if found is None else _UNTIMED
            words = Message.wrong(failure(error, "a comparison", which))
            yield {**self._restore(kept, words), **self._saveable(found)}
            return
        if ended and not place.is_replaced:
            yield {**self._restore(kept, Message(text=ended)), **self._saveable(found)}

    async def run_painted(
        self,
        event: gr.EventData,
        picture: Upload | None,
        question: str,
        percent: float,
        seed: int | KnownAnswer | None,
        shown: dict[str, Any],
        request: gr.Request,
        chosen: Chosen,
        own: Sequence[dict[str, Any]] = (),
    ) -> AsyncGenerator[dict, None]:
        """Answer once more, with patches that were painted on the picture."""
        try:
            stay, go = ([] if (tokens := told(event, name)) is None else tokens for name in ("stay", "go"))
            paint = painted(stay, go)
        except ValueError as error:
            yield {self.parts.notice: Message.wrong(sentence(error))}
            return
        run = self.run(picture, question, percent, seed, shown, request, chosen, own, paint)
        async with contextlib.aclosing(run) as updates:
            async for update in updates:
                yield update

    def _update(self, item: Waiting | Partial | Result, asked: Asked) -> dict:
        """What a visit yields, as it is shown."""
        parts = self.parts
        if isinstance(item, Result):
            more: dict = {}
            if item.trace is not None:  # until it can be saved and looked at, nothing can
                more = {parts.scrubber: item.trace, parts.lens: Lens(), parts.found: None, parts.subject: None}
            if not item.ended:
                more |= self._saveable(item.found)
            if item.lens is not None:
                more |= {parts.lens: item.lens}
            return {parts.board: item.board, parts.notice: item.message, parts.shown: item.kept.model_dump(), **more}
        if isinstance(item, Waiting) and not item.is_turn:
            board = queued_board(asked.percent, asked.sides)
            return {parts.board: board, parts.notice: Message(text=item.in_words())}
        board = running_board(item if isinstance(item, Partial) else None, asked.percent, asked.sides)
        return {parts.board: board, parts.notice: Message(text="Answering…")}

    def _saveable(self, found: Found | None) -> dict:
        """What is saved, remembered, and looked at from now on, if anything is."""
        return {} if found is None else {self.parts.found: found.export, self.parts.subject: found.subject}

    def _work(self, asked: Asked, should_stop: Callable[[], bool]) -> Generator[Partial | Result, None, None]:
        """What is done when it is the visitor's turn, on a thread of its own."""
        image, sides, last = asked.picture.open(), asked.sides, 0.0
        if should_stop():
            return
        truth = true_answer(asked.seed, asked.question)
        board = partial(done_board, truth=truth, picture=asked.picture.key, sides=sides, percent=asked.percent)
        linked = {"link": asked.link(self.examples), "can_look": bool(asked.picture.path)}
        items = self.engine.compare(
            image,
            asked.question,
            asked.percent,
            should_stop,
            **asked.ways(),
        )
        for item in items:
            if isinstance(item, Answered):
                doubts = self.engine.doubts(item.comparison)
                early = board(item.comparison, times=MEASURING, doubts=doubts)
                kept = board(item.comparison, times=UNMEASURED, doubts=doubts).model_copy(update=linked)
                trace = trace_of(item.comparison, image, self.engine.geometry, sides)
                trace = with_asked_object(trace, asked.seed, asked.question)
                found = self._found(item.comparison, image, asked, kept)
                ended = "Stopped before the times were measured."
                yield Result(early, kept, Message(text=_MEASURING), found, trace, ended)
            elif isinstance(item, Comparison):
                done = board(item, times=MEASURED, doubts=self.engine.doubts(item)).model_copy(update=linked)
                found = self._found(item, image, asked, done)
                lens = self._first_look(item, image, found.subject, should_stop)
                yield Result(done, done, closing_words(item), found, lens=lens)
            elif time.monotonic() - last >= _BEAT:
                last = time.monotonic()
                yield item

    def _found(self, comparison: Comparison, image: Any, asked: Asked, board: Board) -> Found:
        export = self.exports.keep(to_entries(comparison, image, self.engine.geometry, judged_of(board)))
        return Found(export, Subject.of(asked, comparison) if asked.picture.path else None)

    def _first_look(
        self, comparison: Comparison, image: Any, subject: Subject | None, should_stop: Callable[[], bool]
    ) -> Lens | None:
        """Where the answers part, looked at without being asked: of a model that was quick enough to be timed anew, and
        where that costs nobody a quota. None also where it fails: what was measured is there all the same.
        """
        if subject is None or not comparison.paired or is_zero_gpu():
            return None
        looks = look_at(self.engine, image, subject, 1, subject.first_difference(), should_stop, clicked=False)
        try:
            return next(looks, None)
        except Exception:
            logger.exception("the look that nobody asked for failed")
            return None

    def _restore(self, board: Board, message: Message) -> dict:
        return {self.parts.board: board, self.parts.notice: message}

    def stop(self, request: gr.Request) -> None:
        """End the visitor's run; it says so itself, and shows the result from before."""
        self.end(request)

    def end(self, request: gr.Request, *, replaced: bool = False) -> None:
        """The visitor stopped, or (`replaced`) has other plans: nothing that this page began runs for them any more."""
        for visitor in (str(request.session_hash), looker(request)):
            self.engine.line.end(visitor, replaced=replaced)

    def make_way(self, request: gr.Request) -> None:
        """Something else is to be shown: what runs ends, and the last of it is on its way to the browser before.

        It comes by another line than the answer to a click, and would be shown over it. Not for the event loop.
        """
        self.end(request, replaced=True)
        self.engine.line.wait_until_told(str(request.session_hash), _LONGEST_LAST_WORD)

    def count(self, request: gr.Request) -> None:
        """Count what is answered at once and costs as much as an upload. Raises ValueError beyond the limit."""
        self.engine.line.allowance.take("", address_of(request))

    def leave(self, request: gr.Request) -> None:
        """The visitor is gone: nothing runs for them any more, on whatever page they began it."""
        self.end(request)
        self.engine.line.end(sweeper(request))

    def arrive(self, request: gr.Request) -> dict:
        """Somebody opens the page: what its address asks for is set up."""
        parts = self.parts
        try:
            asked = dict(request.query_params)
            example, sides = linked(self.examples, asked), sides_asked(asked)
        except ValueError as error:
            # Nothing runs over what it says.
            return {parts.notice: Message.wrong(sentence(error)), parts.is_ready: True}
        if example is None and self.engine.line.allowance.has_asked(str(request.session_hash)):
            return {parts.is_ready: True}  # they were quicker than their page, and run, or ran, what it begins with
        if example is None and self.examples and self.examples[0] in self.ready:
            example = self.examples[0]
        if example is None:
            return {parts.notice: Message(text=READY)}
        return {parts.sides: Chosen.of(sides), **self._begin_with(example, request, sides)}

    def pick(
        self, event: gr.EventData, chosen: Chosen, request: gr.Request, own: Sequence[dict[str, Any]] = ()
    ) -> dict:
        """An example was clicked."""
        index, sides = told_number(event, "index", len(self.examples)), None
        with contextlib.suppress(ValueError):  # what cannot be is told when it runs
            sides = chosen.sides(recipes_of(own))
        return self._begin_with(self.examples[index], request, sides)

    def draw_scene(self, request: gr.Request) -> dict:
        """A scene that nobody has seen."""
        try:
            self.count(request)
        except ValueError as error:
            # What is shown stays, and does not run.
            return {self.parts.notice: Message.wrong(sentence(error)), self.parts.is_ready: True}
        return self._begin_with(new_scene(), request)

    def _begin_with(self, example: Example, request: gr.Request, sides: Sides | None = None) -> dict:
        """Set an example up, and show what was made of it beforehand: that is of the usual sides."""
        self.make_way(request)
        parts = self.parts
        begun: dict = {parts.picture: example.shown, parts.question: example.question, parts.seed: example.seed}
        if example.percent is not None:
            begun[parts.percent] = example.percent
        ready = self.ready.get(example) if sides == Sides() else None
        if ready is None:
            return {**begun, parts.is_ready: False}
        return {**begun, **showing_ready(self, example, ready)}
