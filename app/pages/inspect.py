"""The Inspect page: many questions, what each side answered, and the way from a row to Compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app import figures
from app.asking.evaluated import evaluation_of
from app.asking.scenes import KnownAnswer
from app.asking.sides import check_budgets, methods_of, original_and, placed
from app.background.runs import EASY_VQA, MOST_QUESTIONS, SCENES, Run, Runs
from app.background.shown import Shown, is_drawn, outcomes_of, picture_of, read_file
from app.demo_model.easy_vqa import MISSING, is_installed
from app.door.guard import NOT_OURS
from app.engine import Engine
from app.pages.compare import ComparePage
from app.pages.methods import method_fields
from app.pages.opening import opens_compare
from app.pages.run_page import RunPage
from app.pages.wiring import (
    AT_ONCE,
    BUDGETS,
    LOOK,
    ONE_LINE,
    QUIET,
    number_or_none,
    told_number,
    wrong,
)
from app.parts.notice import Message, Notice
from app.parts.sides import Chosen
from app.parts.table import Table, TableData
from app.showing.tables import table_of
from app.visitors.allowance import Asker
from app.words import counted, sentence
from fitprune_core.evaluation.lmms_logs import read_lmms_logs
from fitprune_core.evaluation.outcomes import Outcomes, Side

_MOST_DRAWN = 1_000  # questions without a zip
_DRAWN = "The questions are about drawn scenes, whose pictures are drawn when they are looked at."
_FIRST_SIDE = "fitprune 60 %"  # of what ships, the side that is shown first
_MOST_ROWS = 2**31  # of any file
_SEEN = 1_056  # pixels: four times what the page gives a picture, for screens of high density and a closer look
_TELL_PICTURE = """(file, index) => {
  window.dispatchEvent(new CustomEvent('fitprune:row-picture', { detail: { url: (file && file.url) || '', index } }));
}"""
# Said at once, by the browser: a large file is read for seconds.
_READING = """(file) => ({ kind: 'info', share: null, number: 0,
  text: `Reading ${(file && file.orig_name) || 'the file'}…` })"""
_OPENING = "() => ({ kind: 'info', share: null, number: 0, text: 'Opening the answers…' })"
# On a phone what was found would come after the whole form.
_FOLD = """() => {
  if (innerWidth > 860 || !document.querySelector('#table .inspect[data-state=full]')) return;
  document.querySelectorAll('#inspect-columns .page-controls .label-wrap.open').forEach((head) => head.click());
}"""
_SHOW_NOTICE = "() => document.querySelector('#inspect-notice').scrollIntoView({ block: 'nearest' })"


@dataclass(frozen=True)
class Parts:
    """The components that events read and write.

    `token` is that of the visitor's run, kept in their browser; `shown` that of the run whose table is shown, which
    stays while another one runs, or the file, if its rows can be drawn, or None; `title` says of what the table is.
    `picture` is not seen: the table draws what it holds, if `pictured` says that it is of the row that is looked at.
    """

    shipped: gr.Button
    results: gr.File
    pruned_log: gr.File
    questions: gr.File
    source: gr.Radio
    count: gr.Slider
    methods: gr.CheckboxGroup
    others: gr.CheckboxGroup
    budgets: gr.CheckboxGroup
    more: gr.Textbox
    run: gr.Button
    stop: gr.Button
    notice: Notice
    table: Table
    picture: gr.Image
    pictured: gr.Number
    token: gr.BrowserState
    shown: gr.State
    title: gr.State
    timer: gr.Timer


class InspectPage(RunPage):
    """What the page's events do."""

    parts: Parts  # set by `create_inspect`
    stopped_early = "Stopped before the first answer."
    meanwhile = "The table comes when all are answered. The run goes on when you close the page, and is kept a day."

    def __init__(self, engine: Engine, runs: Runs) -> None:
        super().__init__(engine, runs)
        self._table_of_shipped = lru_cache(maxsize=1)(self._shipped)  # its sums take seconds

    @property
    def changed_by_results(self) -> list[gr.components.Component]:
        """The table, of what it is, and whose pictures its rows have."""
        return [self.parts.table, self.parts.shown, self.parts.title]

    def open_results(self, results: str | None, pruned_log: str | None, shown: Shown, before: str) -> dict:
        """Show a table of `evaluate`, or the two logs of lmms-eval; nothing more of them, once they are taken away.

        shown, before: the run, if it is one, and the title of what the table shows until now.
        """
        parts = self.parts
        is_log = results is not None and Path(results).suffix.casefold() == ".jsonl"
        second = {parts.pruned_log: gr.File(visible=is_log)}
        if results is None:
            is_of_file = not isinstance(shown, str) and shown != evaluation_of(self.engine)
            return {**second, **(self._cleared() if is_of_file else {})}
        file = None
        try:
            if not is_log:
                outcomes, title = read_file(Path(results)), Path(results).name
                file = Path(results) if is_drawn(outcomes) else None
            elif pruned_log is None:
                text = "This is one samples log; give the pruned model's log too, in the second field."
                return {**second, parts.notice: Message(text=_with_rest(text, before), kind="warning")}
            else:
                outcomes = read_lmms_logs(results, pruned_log)
                title = f"{Path(results).name} and {Path(pruned_log).name}"
            table, left_out = table_of(outcomes, title, has_pictures=file is not None, placed=self._placed(outcomes))
        except ValueError as error:
            return {**second, parts.notice: wrong(_with_rest(sentence(error), before))}
        drawn = _DRAWN if file is not None else ""
        text = " ".join(filter(None, (left_out or _counted(outcomes), drawn)))
        return {
            **second,
            parts.table: table,
            parts.notice: Message(text=text),
            parts.picture: None,
            parts.shown: file,
            parts.title: title,
        }

    def open_shipped(self) -> dict:
        """Show the answers that ship with the model, first what pruning broke; the field for a file is emptied."""
        parts, path = self.parts, evaluation_of(self.engine)
        if path is None:
            raise gr.Error(NOT_OURS, print_exception=False)
        table = self._table_of_shipped(path)
        return {
            parts.table: table,
            parts.notice: Message(text=f"{_counted(read_file(path))} {_DRAWN}"),
            parts.results: None,
            parts.picture: None,
            parts.shown: path,
            parts.title: table.title,
        }

    def _shipped(self, path: Path) -> TableData:
        """The table of what ships, as it is first shown."""
        outcomes = read_file(path)
        title = f"{self.engine.model_name}'s evaluation"
        table, _ = table_of(outcomes, title, has_pictures=True, placed=self._placed(outcomes))
        side = table.sides.index(_FIRST_SIDE) if _FIRST_SIDE in table.sides else 0
        return table.model_copy(update={"side": side, "show": "lost"})

    def _cleared(self) -> dict:
        """The file whose table was shown is gone."""
        parts = self.parts
        gone = {parts.picture: None, parts.shown: None, parts.title: ""}
        return {parts.table: TableData(), parts.notice: Message(text=""), **gone}

    def begin(
        self,
        questions: str | None,
        source: str,
        count: int,
        methods: list[str],
        others: list[str],
        budgets: list[int],
        more: str,
        token: str,
        request: gr.Request,
    ) -> dict[Any, Any]:
        """Begin a run; one that this visitor has on the way ends.

        others: methods that were ticked among more; more: those with options beside, see `methods_of`.
        """

        def ask(asker: Asker) -> Run:
            chosen = methods_of([*methods, *others], more)
            check_budgets(chosen, budgets, self.engine.recipe_for, self.engine.geometry)
            return self.runs.ask(token, questions, int(count), budgets, chosen, source=source, asker=asker)

        return self.begun(ask, token, request)

    def look(self, shown: Shown, event: gr.EventData) -> dict:
        """A row was chosen: show its picture, no larger than it is seen, and say whose it is."""
        picture = self._picture_of(shown, event)
        if picture is not None and max(picture.size) > _SEEN:
            picture = picture.copy()
            picture.thumbnail((_SEEN, _SEEN))
        return {self.parts.picture: picture, self.parts.pictured: number_or_none(event, "index", _MOST_ROWS)}

    def open_row(self, shown: Shown, event: gr.EventData, compare: ComparePage) -> dict:
        """A row is to be compared: its picture, its question, what is right, and its side's method and budget."""
        picture, outcomes = self._picture_of(shown, event), outcomes_of(shown, self.runs)
        if picture is None or outcomes is None:
            raise gr.Error("This row has no picture here.", print_exception=False)
        side = outcomes.sides[told_number(event, "side", len(outcomes.sides))]
        parts, reduction = compare.parts, side.reduction
        budget = {} if reduction is None else {parts.percent: round(100 * reduction)}
        asked = outcomes.questions[told_number(event, "index", len(outcomes.questions))]
        known = KnownAnswer(asked.text, asked.expected) if asked.expected else None
        sides = {parts.sides: Chosen.of(original_and(side.method))}
        return {parts.picture: picture, parts.question: asked.text, parts.seed: known, **sides, **budget}

    def results(self, run: Run, *held: Any) -> dict:
        """The table of a run's answers."""
        parts, outcomes = self.parts, read_file(run.results)
        title = f"{self.engine.model_name}, {run.plan.title}"
        table, left_out = table_of(outcomes, title, has_pictures=True, placed=self._placed(outcomes))
        stopped = "Stopped; these are the answers so far." if run.state == "stopped" else ""
        text = " ".join(filter(None, (f"{counted(len(outcomes.questions))}.", stopped, left_out)))
        told = {parts.title: title, parts.notice: Message(text=text)}
        return {parts.table: table, parts.shown: run.token, **told}

    def _placed(self, outcomes: Outcomes) -> Callable[[Side], str]:
        """Where a side's method drops, in words; of another model's sides, and budgets that are not here, nothing."""

        def words(side: Side) -> str:
            if not side.reduction or outcomes.model != self.engine.model_name:
                return ""
            try:
                recipe = self.engine.recipe_for(figures.percent(side.reduction))
            except ValueError:
                return ""
            return placed(side.method, recipe, self.engine.geometry)

        return words

    def _picture_of(self, shown: Shown, event: gr.EventData) -> Image.Image | None:
        """The picture of the row that an event is about, None where there is none."""
        outcomes = outcomes_of(shown, self.runs)
        index = None if outcomes is None else number_or_none(event, "index", len(outcomes.questions))
        return None if outcomes is None or index is None else picture_of(outcomes.questions[index], shown, self.runs)


def _with_rest(words: str, title: str) -> str:
    """What went wrong, and what the table shows nevertheless, if anything."""
    return f"{words} The table is still that of {title}." if title else words


def _counted(outcomes: Outcomes) -> str:
    return f"{counted(len(outcomes.questions))}, {counted(len(outcomes.sides), 'side')}."


def create_inspect(
    engine: Engine, compare: ComparePage, tabs: gr.Tabs, runs: Runs, token: gr.BrowserState
) -> InspectPage:
    """Lay out the page inside the current tab and wire its events. token: see `Parts`, outside of all tabs."""
    page = InspectPage(engine, runs)
    with gr.Row(elem_classes="page-columns", elem_id="inspect-columns", equal_height=False):
        with gr.Column(elem_classes="page-controls", scale=0):
            shipped = _create_shipped(engine)
            controls = _create_controls(engine)
        with gr.Column(elem_classes="page-results", scale=1):
            notice = Notice(Message(text=""), elem_id="inspect-notice", elem_classes="bare")
            table = Table(TableData(), elem_id="table", elem_classes="bare")
            picture = gr.Image(visible="hidden", interactive=False, elem_id="row-file")
            pictured = gr.Number(visible="hidden", precision=0, elem_id="row-of-file")
    page.parts = Parts(
        shipped=shipped,
        **controls,
        notice=notice,
        table=table,
        picture=picture,
        pictured=pictured,
        token=token,
        shown=gr.State(None),
        title=gr.State(""),
        timer=gr.Timer(LOOK, active=False),
    )
    _wire(page, compare, tabs)
    return page


def _create_shipped(engine: Engine) -> gr.Button:
    """The button for the answers that ship with the model, with their number; out of sight where there are none."""
    path = evaluation_of(engine)
    number = counted(len(read_file(path).questions), "answer") if path else "answers"
    words = f"Open {engine.model_name}'s {number}"
    return gr.Button(words, variant="primary", visible=path is not None, elem_id="open-shipped")


def _create_controls(engine: Engine) -> dict[str, Any]:
    with gr.Accordion("Open results", open=True):
        gr.Markdown("CSV from `fitprune evaluate`, or two lmms-eval logs.")
        results = gr.File(
            label="Results file",
            file_types=[".csv", ".jsonl"], elem_id="results-file", **ONE_LINE,
        )  # fmt: skip
        pruned_log = gr.File(
            label="Pruned log, JSONL", file_types=[".jsonl"], visible=False,
            elem_id="pruned-file", **ONE_LINE,
        )  # fmt: skip
    with gr.Accordion("Ask many questions", open=True):
        questions = gr.File(
            label="Zip of samples",
            file_types=[".zip"], elem_id="questions-file", **ONE_LINE,
        )  # fmt: skip
        source = gr.Radio(
            [("New scenes", SCENES), ("easy-VQA's test split", EASY_VQA)],
            value=SCENES,
            label="Without a zip, ask about",
            info=None if is_installed() else MISSING,
            elem_id="source",
        )
        count = gr.Slider(10, _MOST_DRAWN, 60, step=10, label="How many", elem_id="how-many", buttons=[])
        methods = method_fields(engine.methods, ["fitprune", "random"], "methods")
        budgets = gr.CheckboxGroup(list(BUDGETS), value=[60], label="Visual FLOPs to save, %", elem_id="budgets")
        with gr.Row(elem_id="ask-actions"):
            run = gr.Button("Ask", variant="primary", elem_id="ask")
            stop = gr.Button("Stop", elem_id="ask-stop", interactive=False)
        gr.Markdown(f"Up to {MOST_QUESTIONS:,} questions a run.")
    return {
        "results": results,
        "pruned_log": pruned_log,
        "questions": questions,
        "source": source,
        "count": count,
        "methods": methods.first,
        "others": methods.others,
        "budgets": budgets,
        "more": methods.more,
        "run": run,
        "stop": stop,
    }


def _wire(page: InspectPage, compare: ComparePage, tabs: gr.Tabs) -> None:
    parts = page.parts
    gr.on(
        [parts.results.change, parts.pruned_log.change],
        page.open_results,
        [parts.results, parts.pruned_log, parts.shown, parts.title],
        [parts.table, parts.notice, parts.picture, parts.shown, parts.title, parts.pruned_log],
        **QUIET,
    )
    parts.results.upload(None, parts.results, parts.notice, js=_READING, show_progress="hidden")
    parts.shipped.click(None, None, parts.notice, js=_OPENING, show_progress="hidden")
    opened = [parts.table, parts.notice, parts.results, parts.picture, parts.shown, parts.title]
    parts.shipped.click(page.open_shipped, None, opened, **QUIET)
    parts.table.change(None, None, None, js=_FOLD, show_progress="hidden")
    ways = [parts.methods, parts.others, parts.budgets, parts.more]
    asked = [parts.questions, parts.source, parts.count, *ways, parts.token]
    begun = parts.run.click(page.begin, asked, [parts.token, *page.all_shown], **QUIET)
    begun.then(None, None, None, js=_SHOW_NOTICE)
    page.follow()
    # Not by what changed: two rows may have one picture. The table passes over one that comes late, of a row before.
    looked = parts.table.look(
        page.look, parts.shown, [parts.picture, parts.pictured], trigger_mode="multiple", **AT_ONCE
    )
    looked.then(None, [parts.picture, parts.pictured], None, js=_TELL_PICTURE)

    of = compare.parts
    filled = [of.picture, of.question, of.percent, of.sides, of.seed]
    opens_compare(
        parts.table.open, tabs, lambda shown, event: page.open_row(shown, event, compare), parts.shown, filled
    )
