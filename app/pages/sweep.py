"""The Sweep page: the picture and question of Compare, by many methods at many budgets."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from functools import partial

import gradio as gr

from app.engine import LARGEST_PERCENT, Engine, check_ways
from app.inputs import check_request
from app.pages.compare import CLICK_RUN, ComparePage, place_in_words
from app.pages.wiring import AT_ONCE, BUDGETS, NOT_OURS, QUIET, told, told_number
from app.parts.grid import Cell, Grid, GridData
from app.parts.notice import Message, Notice
from app.parts.sides import Chosen
from app.presentation import data_uri
from app.scenes import true_answer
from app.sides import original_and
from app.uploads import Upload
from app.visits import Waiting, address_of, visit
from app.words import sentence
from fitprune_core import Comparison

_METHODS = ("fitprune", "random", "uniform", "cross-only", "fastv")
_THUMBNAIL = 220
_READY = "Choose methods and budgets. The picture and the question are those of Compare."

logger = logging.getLogger(__name__)


class SweepPage:
    """What the page's events do."""

    grid: Grid  # both set by `create_sweep`
    notice: Notice

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def run(
        self,
        picture: Upload | None,
        question: str,
        seed: int | None,
        methods: Sequence[str],
        percents: Sequence[float],
        request: gr.Request,
    ) -> AsyncGenerator[dict, None]:
        """Answer in every way, showing each as it comes. What the visitor ran before ends."""
        line, visitor = self.engine.line, str(request.session_hash)
        line.end(visitor, replaced=True)
        try:
            percents, methods = check_ways(sorted(percents), list(methods))
            picture, question = check_request(picture, question, percents[0], self.engine.limits)
            place = line.join(visitor, address_of(request))
            work = partial(self._work, picture, question, seed, methods, percents)
            async with contextlib.aclosing(visit(line, place, work, picture.held())) as items:
                async for item in items:
                    if isinstance(item, GridData):
                        yield {self.grid: item, self.notice: Message(text="Answering…")}
                    elif isinstance(item, Waiting) and item.ahead:
                        yield {self.notice: Message(text=place_in_words(item))}
        except (ValueError, MemoryError) as error:
            yield {self.notice: Message(text=sentence(error), kind="error")}
            return
        except Exception as error:
            logger.exception("a sweep failed")
            yield {self.notice: Message(text=f"The model failed: {sentence(error)}", kind="error")}
            return
        if not place.is_replaced:
            yield {self.notice: Message(text="Done. Decoding is greedy; each answer was given once.")}

    def _work(
        self,
        picture: Upload,
        question: str,
        seed: int | None,
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
            percents=list(percents),
            cells=[[None] * len(percents) for _ in methods],
        )
        yield grid
        for number, item in enumerate(self.engine.sweep(image, question, percents, methods, should_stop)):
            row, column = divmod(number, len(percents))
            cells = [list(line) for line in grid.cells]
            cells[row][column] = _cell(item)
            original = {"original": item.original.answer, "gflops": item.original.visual_gflops}
            grid = grid.model_copy(update={"cells": cells, **original})
            yield grid

    def stop(self, request: gr.Request) -> None:
        """End the visitor's sweep; what was answered stays."""
        self.engine.line.end(str(request.session_hash))

    def open_cell(self, compare: ComparePage, event: gr.EventData) -> dict:
        """A cell is to be seen in Compare, which has the picture and the question already."""
        method = told(event, "method")
        if method not in self.engine.methods:
            raise gr.Error(NOT_OURS, print_exception=False)
        percent = told_number(event, "percent", LARGEST_PERCENT + 1)
        return {compare.parts.percent: percent, compare.parts.sides: Chosen.of(original_and(method))}


def _cell(item: Comparison) -> Cell:
    return Cell(
        answer=item.pruned.answer,
        same=item.agree,
        left=len(item.kept[-1]),
        gflops=item.pruned.visual_gflops,
    )


def create_sweep(engine: Engine, compare: ComparePage, tabs: gr.Tabs) -> SweepPage:
    """Lay out the page inside the current tab and wire its events."""
    page = SweepPage(engine)
    with gr.Row(elem_classes="page-columns", equal_height=False):
        with gr.Column(elem_classes="page-controls", scale=0):
            offered = [method for method in _METHODS if method in engine.methods] or list(engine.methods[:1])
            methods = gr.CheckboxGroup(list(engine.methods), value=offered, label="Methods", elem_id="sweep-methods")
            budgets = gr.CheckboxGroup(
                list(range(10, 91, 10)), value=list(BUDGETS), label="Visual FLOPs to save, %", elem_id="sweep-budgets"
            )
            with gr.Row():
                run = gr.Button("Sweep", variant="primary", elem_id="sweep")
                stop = gr.Button("Stop", elem_id="sweep-stop")
            page.notice = Notice(Message(text=_READY), elem_id="sweep-notice", elem_classes="bare")
        with gr.Column(elem_classes="page-results", scale=1):
            page.grid = Grid(GridData(), elem_id="grid", elem_classes="bare")
    of_compare = [compare.parts.picture, compare.parts.question, compare.parts.seed]
    run.click(
        page.run,
        [*of_compare, methods, budgets],
        [page.grid, page.notice],
        trigger_mode="multiple",
        concurrency_limit=None,
        **QUIET,
    )
    stop.click(page.stop, None, None, **AT_ONCE)

    def open_cell(event: gr.EventData) -> dict:
        return {tabs: gr.Tabs(selected="compare"), **page.open_cell(compare, event)}

    filled = [compare.parts.percent, compare.parts.sides]
    page.grid.open(open_cell, None, [tabs, *filled], **AT_ONCE).success(None, js=CLICK_RUN)
    return page
