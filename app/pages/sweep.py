"""The Sweep page: the picture and question of Compare, by many methods at many budgets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from functools import partial
from pathlib import Path

import gradio as gr

from app.asking.inputs import check_request
from app.asking.scenes import KnownAnswer, is_right, true_answer
from app.asking.sides import Sides, check_budgets, methods_of, placed
from app.budgets import LARGEST_PERCENT
from app.door.uploads import Upload
from app.engine import Engine, check_ways
from app.pages.compare import ComparePage
from app.pages.methods import method_fields
from app.pages.opening import opens_compare
from app.pages.wiring import AT_ONCE, BUDGETS, NOT_OURS, QUIET, told, told_number
from app.parts.grid import Cell, Grid, GridData
from app.parts.notice import Message, Notice
from app.parts.sides import Chosen
from app.showing.presentation import data_uri
from app.visitors.visits import Waiting, address_of, sweeper, visit
from app.words import duration, failure
from fitprune_core import Comparison

_METHODS = ("fitprune", "fitprune+", "fastv", "random")
_THUMBNAIL = 220
_BEGINNING = "Beginning…"
_TELL_CHOSEN = """(methods, others, percents, more) => {
  const typed = (more || '').split(/[\\s;]+/).filter(Boolean);
  const detail = { methods: [...methods, ...others, ...typed], percents };
  window.dispatchEvent(new CustomEvent('fitprune:sweep-chosen', { detail }));
}"""
_READY = "Choose methods and budgets. The picture and the question are those of Compare."


class SweepPage:
    """What the page's events do."""

    grid: Grid  # these are set by `create_sweep`
    notice: Notice
    stop_button: gr.Button
    asked: gr.State  # what the grid is about: the path of its picture, its question, and the seed of its scene

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def run(
        self,
        picture: Upload | None,
        question: str,
        seed: int | KnownAnswer | None,
        methods: Sequence[str],
        others: Sequence[str],
        percents: Sequence[float],
        more: str,
        request: gr.Request,
    ) -> AsyncGenerator[dict, None]:
        """Answer in every way, showing each as it comes. What the visitor ran before ends, here and on Compare.

        others: methods that were ticked among more; more: those with options beside, see `methods_of`.
        """
        line, grid, began = self.engine.line, GridData(), 0.0
        over = {self.stop_button: gr.Button(interactive=False)}
        line.end(sweeper(request), replaced=True)
        try:
            percents, methods = check_ways(sorted(percents), methods_of([*methods, *others], more))
            check_budgets(methods, percents, self.engine.recipe_for, self.engine.geometry)
            picture, question = check_request(picture, question, percents[0], self.engine.limits)
            line.end(str(request.session_hash))
            place = line.join(sweeper(request), address_of(request))
            yield {self.stop_button: gr.Button(interactive=True), self.notice: Message(text=_BEGINNING)}
            asked = (str(picture.path), question, seed)
            work = partial(self._work, picture, question, seed, methods, percents)
            async with contextlib.aclosing(visit(line, place, work, picture.held())) as items:
                async for item in items:
                    if isinstance(item, GridData):
                        grid, began = item, began or time.monotonic()
                        yield {self.grid: item, self.asked: asked, self.notice: Message(text=progress(item, began))}
                    elif isinstance(item, Waiting) and not item.is_turn:
                        yield {self.notice: Message(text=item.in_words())}
        except Exception as error:
            yield {**over, self.notice: Message(text=failure(error, "a sweep"), kind="error")}
            return
        if not place.is_replaced:
            is_done = all(cell is not None for line in grid.cells for cell in line)
            words = "Done. Decoding is greedy; each answer was given once." if grid.cells and is_done else "Stopped."
            yield {**over, self.notice: Message(text=words)}

    def _work(
        self,
        picture: Upload,
        question: str,
        seed: int | KnownAnswer | None,
        methods: Sequence[str],
        percents: Sequence[float],
        should_stop: Callable[[], bool],
    ) -> Generator[GridData, None, None]:
        """What is done when it is the visitor's turn, on a thread of its own."""
        image = picture.open()
        if should_stop():
            return
        grid = GridData(
            question=question,
            picture=data_uri(image, _THUMBNAIL),
            truth=true_answer(seed, question) or "",
            methods=list(methods),
            placed=[self._placed(method, percents) for method in methods],
            percents=list(percents),
            cells=[[None] * len(percents) for _ in methods],
        )
        yield grid
        truth = grid.truth or None
        for number, item in enumerate(self.engine.sweep(image, question, percents, methods, should_stop)):
            row, column = divmod(number, len(percents))
            cells = [list(line) for line in grid.cells]
            cells[row][column] = _cell(item, truth)
            run = item.original
            original = {"original": run.answer, "gflops": run.visual_gflops, "margin": run.margin}
            right = None if truth is None else is_right(run.answer, truth)
            grid = grid.model_copy(update={"cells": cells, "right": right, **original})
            yield grid

    def _placed(self, method: str, percents: Sequence[float]) -> str:
        """Where a method drops at these budgets, if its name does not say it: "after layer 2, as in its paper; after
        layer 1 at 90 %"."""
        at: dict[str, list[str]] = {}
        for percent in percents:
            if words := placed(method, self.engine.recipe_for(percent), self.engine.geometry):
                at.setdefault(words, []).append(f"{percent:g}")
        first, *others = at or [""]
        return "; ".join([first, *(f"{words} at {' and '.join(at[words])} %" for words in others)])

    def stop(self, request: gr.Request) -> None:
        """End the visitor's sweep; what was answered stays."""
        self.engine.line.end(sweeper(request))

    def open_cell(
        self, compare: ComparePage, event: gr.EventData, asked: tuple[str, str, int | KnownAnswer | None] | None
    ) -> dict:
        """A cell is to be seen in Compare, with the picture and the question that were swept."""
        try:
            sides = Sides(right=told(event, "method"))
        except ValueError as error:
            raise gr.Error(NOT_OURS, print_exception=False) from error
        percent = told_number(event, "percent", LARGEST_PERCENT + 1)
        parts = compare.parts
        ways = {parts.percent: percent, parts.sides: Chosen.of(sides)}
        if asked is None:
            return ways
        path, question, seed = asked
        if not Path(path).is_file():
            raise gr.Error("The picture of this sweep is not kept any more: sweep again.", print_exception=False)
        return {**ways, parts.picture: path, parts.question: question, parts.seed: seed}


def progress(grid: GridData, began: float) -> str:
    """How far a sweep is, in words, with the time that is left by its pace since it `began`."""
    cells = [cell for line in grid.cells for cell in line]
    done = sum(cell is not None for cell in cells)
    if not done:
        return "Answering…"
    left = (time.monotonic() - began) / done * (len(cells) - done)
    return f"{done} of {len(cells)} answered, about {duration(left)} left"


def _cell(item: Comparison, truth: str | None) -> Cell:
    return Cell(
        answer=item.pruned.answer,
        same=item.agree,
        right=None if truth is None else is_right(item.pruned.answer, truth),
        left=len(item.kept[-1]),
        gflops=item.pruned.visual_gflops,
        margin=item.pruned.margin,
    )


def create_sweep(engine: Engine, compare: ComparePage, tabs: gr.Tabs) -> SweepPage:
    """Lay out the page inside the current tab and wire its events."""
    page = SweepPage(engine)
    with gr.Row(elem_classes="page-columns", equal_height=False):
        with gr.Column(elem_classes="page-controls", scale=0):
            methods = method_fields(engine.methods, _METHODS, "sweep-methods")
            budgets = gr.CheckboxGroup(
                list(range(10, 91, 10)), value=list(BUDGETS), label="Visual FLOPs to save, %", elem_id="sweep-budgets"
            )
            with gr.Row(elem_id="sweep-actions"):
                run = gr.Button("Sweep", variant="primary", elem_id="sweep")
                page.stop_button = gr.Button("Stop", elem_id="sweep-stop", interactive=False)
            page.notice = Notice(Message(text=_READY), elem_id="sweep-notice", elem_classes="bare")
        with gr.Column(elem_classes="page-results", scale=1):
            page.grid = Grid(GridData(), elem_id="grid", elem_classes="bare")
    page.asked = gr.State(None)
    of_compare = [compare.parts.picture, compare.parts.question, compare.parts.seed]
    run.click(
        page.run,
        [*of_compare, methods.first, methods.others, budgets, methods.more],
        [page.grid, page.notice, page.stop_button, page.asked],
        trigger_mode="multiple",
        concurrency_limit=None,
        **QUIET,
    )
    page.stop_button.click(page.stop, None, None, **AT_ONCE)
    chosen = [methods.first, methods.others, budgets, methods.more]
    changes = [methods.first.change, methods.others.change, budgets.change, methods.more.change]
    gr.on(changes, None, chosen, None, js=_TELL_CHOSEN, show_progress="hidden")
    filled = [compare.parts.percent, compare.parts.sides, *of_compare]
    opens_compare(page.grid.open, tabs, lambda asked, event: page.open_cell(compare, event, asked), page.asked, filled)
    return page
