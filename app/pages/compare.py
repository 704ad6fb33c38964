"""The Compare page: one picture, one question, one budget; two answers, what was saved, and what was thrown away."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from app.engine import LARGEST_PERCENT, Engine, check_percent
from app.inputs import Percent, Picture
from app.parts.answers import Answers, Board
from app.parts.budget import Budget, plans_of
from app.parts.notice import Message, Notice
from app.parts.picker import Choice, Choices, Picker
from app.parts.scrubber import Scrubber
from app.presentation import data_uri, done_board, idle_board, running_board, trace_of
from app.scenes import Example, load_examples, new_scene, true_answer
from app.uploads import Upload
from app.words import sentence
from fitprune_core import Comparison, check_question

FIRST_PERCENT = 60
_THUMBNAIL = 96
_BEAT = 0.06  # seconds between two updates of a streaming answer, so that the browser keeps up
_READY = "Pick an example, or give a picture of your own and ask about it."
_BEFORE = "The result shown is the one from before."
CLICK_RUN = "() => document.querySelector('#run').click()"
_TELL_BUDGET = "(percent) => { window.dispatchEvent(new CustomEvent('fitprune:budget', { detail: percent })) }"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The components that events read and write. `seed` is that of the scene, if it is one; `shown` is a done board."""

    picture: Picture
    picker: Picker
    new_scene: gr.Button
    question: gr.Textbox
    percent: gr.Slider
    run: gr.Button
    stop: gr.Button
    notice: Notice
    board: Answers
    scrubber: Scrubber
    seed: gr.State
    shown: gr.State


class ComparePage:
    """What the page's events do. Handlers yield {component: value}; what they leave out stays as it is."""

    parts: Parts  # set by `create_compare`, once the components are there

    def __init__(self, engine: Engine, examples: tuple[Example, ...]) -> None:
        self.engine, self.examples = engine, examples
        self._stops: dict[str | None, threading.Event] = {}

    def run(
        self,
        picture: Upload | None,
        question: str,
        percent: float,
        seed: int | None,
        shown: dict[str, Any],
        request: gr.Request,
    ) -> Iterator[dict]:
        """Answer, streaming. Whatever goes wrong is told in the notice, and the result from before comes back."""
        stop = self._stops[request.session_hash] = threading.Event()
        parts = self.parts
        try:
            image, question = read_inputs(picture, question, percent)
            yield {parts.board: running_board(None, percent), parts.notice: Message(text="Answering…")}
            comparison = yield from self._stream(image, question, percent, stop)
        except (ValueError, MemoryError) as error:
            yield self._restore(shown, Message(text=sentence(error), kind="error"))
            return
        except Exception as error:
            logger.exception("a comparison failed")
            text = f"The model failed: {sentence(error)} {_BEFORE}"
            yield self._restore(shown, Message(text=text, kind="error"))
            return
        if comparison is None:
            yield self._restore(shown, Message(text="Stopped."))
            return
        board = done_board(comparison, true_answer(seed, question))
        yield {
            parts.board: board,
            parts.scrubber: trace_of(comparison, image, self.engine.geometry),
            parts.notice: closing_words(comparison),
            parts.shown: board.model_dump(),
        }

    def _stream(
        self, image: Image.Image, question: str, percent: float, stop: threading.Event
    ) -> Generator[dict, None, Comparison | None]:
        """Show the answers as they grow; returns the Comparison, or None if the visitor stopped it."""
        last = 0.0
        with contextlib.closing(self.engine.compare(image, question, percent, stop.is_set)) as items:
            for item in items:
                if stop.is_set():
                    return None
                if isinstance(item, Comparison):
                    return item
                if time.monotonic() - last >= _BEAT:
                    last = time.monotonic()
                    yield {self.parts.board: running_board(item, percent)}
        return None

    def _restore(self, shown: dict[str, Any], message: Message) -> dict:
        return {self.parts.board: Board(**shown), self.parts.notice: message}

    def stop(self, shown: dict[str, Any], request: gr.Request) -> dict:
        """End the visitor's run, which ends by itself at its next token, and show the result from before."""
        self.forget(request)
        return self._restore(shown, Message(text="Stopped."))

    def forget(self, request: gr.Request) -> None:
        """The visitor has left, or has other plans: nothing runs for him any more."""
        stop = self._stops.pop(request.session_hash, None)
        if stop is not None:
            stop.set()

    def pick(self, event: gr.EventData, request: gr.Request) -> dict:
        """An example was clicked."""
        return self._begin_with(self.examples[event.index], request)

    def draw_scene(self, request: gr.Request) -> dict:
        """A scene that nobody has seen."""
        return self._begin_with(new_scene(), request)

    def _begin_with(self, example: Example, request: gr.Request) -> dict:
        self.forget(request)
        parts = self.parts
        picture = example.open() if example.picture is None else str(example.picture)
        percent = {} if example.percent is None else {parts.percent: example.percent}
        return {parts.picture: picture, parts.question: example.question, parts.seed: example.seed, **percent}

    def compare(self, image: Upload | None, question: str, reduction: float) -> dict[str, Any]:
        """Answer a question about a picture with the original and the pruned model.

        Args:
            image: the picture.
            question: what to ask about it, up to 2,000 characters.
            reduction: share of visual FLOPs to save, in percent, 0 to 90.

        Returns:
            What `python -m fitprune_core compare --json` prints.
        """
        try:
            opened, question = read_inputs(image, question, reduction)
            for item in self.engine.compare(opened, question, reduction):
                if isinstance(item, Comparison):
                    return item.to_json()
        except (ValueError, MemoryError) as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        raise gr.Error("The comparison ended without a result.", print_exception=False)


def read_inputs(picture: Upload | None, question: str, percent: float) -> tuple[Image.Image, str]:
    """The picture, opened, and the question, trimmed. Raises ValueError for whichever of the three cannot be."""
    check_percent(percent)
    question = check_question(question or "")
    if picture is None:
        raise ValueError("There is no picture: pick an example, or upload or paste one.")
    return picture.open(), question


def closing_words(comparison: Comparison) -> Message:
    """How a result was measured; before that, what speaks against its recipe."""
    timing = f"Timing: {comparison.timing}"
    if not comparison.warnings:
        return Message(text=timing)
    return Message(text=" ".join([*map(sentence, comparison.warnings), timing]), kind="warning")


def create_compare(engine: Engine) -> ComparePage:
    """Lay out the page inside the current Blocks and wire its events."""
    page = ComparePage(engine, load_examples())
    first = page.examples[0] if page.examples else new_scene()
    with gr.Row(elem_id="columns", equal_height=False):
        with gr.Column(elem_id="controls", scale=0):
            controls = _create_controls(engine, page.examples, first)
        with gr.Column(elem_id="results", scale=1):
            board = Answers(idle_board(FIRST_PERCENT), elem_id="answers")
            scrubber = Scrubber(elem_id="scrubber")
    seed, shown = gr.State(first.seed), gr.State(idle_board(FIRST_PERCENT).model_dump())
    page.parts = Parts(**controls, board=board, scrubber=scrubber, seed=seed, shown=shown)
    _wire(page)
    _create_api(page)
    return page


def _create_controls(engine: Engine, examples: tuple[Example, ...], first: Example) -> dict[str, Any]:
    picture = Picture(first.open(), label="Picture", show_label=False, height=232, elem_id="picture")
    with gr.Row(elem_id="gallery"):
        thumbnails = [Choice(thumbnail=data_uri(e.open(), _THUMBNAIL), title=e.title) for e in examples]
        picker = Picker(Choices(choices=thumbnails), elem_classes="picker-box", min_width=0)
        scene = gr.Button("New scene", elem_id="new-scene", size="sm")
    question = gr.Textbox(
        first.question, label="Question", max_lines=2, elem_id="question", placeholder="What do you want to know?"
    )
    with gr.Group(elem_id="budget-card"):
        percent = gr.Slider(
            0, LARGEST_PERCENT, FIRST_PERCENT, step=1, label="Visual FLOPs to save, %", elem_id="budget", buttons=[]
        )
        Budget(plans_of(engine.previews(), FIRST_PERCENT), elem_id="preview")
    with gr.Row(elem_id="actions"):
        run = gr.Button("Run", variant="primary", elem_id="run")
        stop = gr.Button("Stop", elem_id="stop")
    return {
        "picture": picture,
        "picker": picker,
        "new_scene": scene,
        "question": question,
        "percent": percent,
        "run": run,
        "stop": stop,
        "notice": Notice(Message(text=_READY), elem_id="notice"),
    }


def _wire(page: ComparePage) -> None:
    parts = page.parts
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once: dict[str, Any] = {**quiet, "queue": False}
    run = gr.on(
        [parts.run.click, parts.question.submit],
        page.run,
        [parts.picture, parts.question, parts.percent, parts.seed, parts.shown],
        [parts.board, parts.scrubber, parts.notice, parts.shown],
        # Not "once" or "always_last": the browser goes on to count a cancelled run as pending, and would drop the next.
        trigger_mode="multiple",
        concurrency_id="model",
        **quiet,
    )
    # `cancels` takes a run out of the queue; one that has begun ends by its own stop event (see ComparePage.stop).
    parts.stop.click(page.stop, parts.shown, [parts.board, parts.notice], cancels=[run], **at_once)
    begun_with = [parts.picture, parts.question, parts.seed, parts.percent]
    parts.picker.pick(page.pick, None, begun_with, cancels=[run], **at_once).then(None, js=CLICK_RUN)
    parts.new_scene.click(page.draw_scene, None, begun_with, cancels=[run], **at_once).then(None, js=CLICK_RUN)
    # A picture of the visitor's own: nobody knows its true answers.
    parts.picture.input(lambda: None, None, parts.seed, **at_once)
    parts.percent.change(None, parts.percent, None, js=_TELL_BUDGET)


def _create_api(page: ComparePage) -> None:
    """The endpoint /compare, on inputs of its own: the page's slider would cut a budget of 95 down to 90."""
    image, question = Picture(visible=False), gr.Textbox(visible=False)
    reduction, result = Percent(visible=False), gr.JSON(visible=False)
    gr.Button(visible=False).click(
        page.compare, [image, question, reduction], result, api_name="compare", concurrency_id="model"
    )
