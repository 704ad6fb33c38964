"""The layout of the Compare page, and which event calls what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.asking.gallery import Exhibit
from app.asking.inputs import Picture
from app.asking.scenes import Example, load_examples, new_scene
from app.asking.sides import Sides
from app.budgets import LARGEST_PERCENT
from app.engine import Engine
from app.pages.compare.page import FIRST_PERCENT, READY, ComparePage, Parts
from app.pages.compare.tools import create_tools
from app.pages.wiring import AT_ONCE, QUIET
from app.parts.answers import Answers
from app.parts.budget import Budget, plans_of
from app.parts.lens import Lens, TokenLens
from app.parts.notice import Message, Notice
from app.parts.picker import Choice, Choices, Picker
from app.parts.scrubber import Scrubber
from app.parts.sides import Chosen, SidesPicker
from app.precomputed import FOLDER as PRECOMPUTED
from app.precomputed import Ready, load_ready
from app.showing.presentation import data_uri, idle_board

_THUMBNAIL = 96
CLICK_RUN = "() => document.querySelector('#run').click()"
# Unless what was begun is shown already; and where only an address may ask for a run, that it does.
RUN_BEGUN = "(is_ready) => { if (!is_ready) document.querySelector('#run').click() }"
RUN_LINKED = """(is_ready) => {
  if (!is_ready && new URLSearchParams(location.search).has('question')) document.querySelector('#run').click();
}"""
_TELL_BUDGET = "(percent) => { window.dispatchEvent(new CustomEvent('fitprune:budget', { detail: percent })) }"
# What the page would ask now; the browser itself sees that a result is of something else. Keys are those of `Upload`.
_TELL_QUESTION = "(question) => { window.dispatchEvent(new CustomEvent('fitprune:asked', { detail: { question } })) }"
# A picture that a visitor gave, or took away: no example is chosen any more.
_TELL_OWN = "() => { window.dispatchEvent(new CustomEvent('fitprune:own')) }"
_TELL_PICTURE = """(file) => {
  const picture = file && file.path ? file.path.split(/[\\/]/).slice(-2).join('/') : '';
  window.dispatchEvent(new CustomEvent('fitprune:asked', { detail: { picture } }));
}"""


def create_compare(engine: Engine, gallery: tuple[Exhibit, ...] = (), precomputed: Path = PRECOMPUTED) -> ComparePage:
    """Lay out the page inside the current Blocks and wire its events. precomputed: see `load_ready`."""
    examples = load_examples()
    page = ComparePage(engine, examples, gallery, load_ready(engine, examples, precomputed))
    first = page.examples[0] if page.examples else new_scene()
    with gr.Row(elem_id="columns", equal_height=False):
        page.tools = create_tools()
        with gr.Column(elem_id="controls", scale=0):
            controls = _create_controls(engine, page, first)
        with gr.Column(elem_id="results", scale=1):
            board = Answers(idle_board(FIRST_PERCENT), elem_id="answers")
            lens = TokenLens(Lens(), elem_id="lens", elem_classes="bare")
            scrubber = Scrubber(elem_id="scrubber")
    page.parts = Parts(
        **controls,
        board=board,
        lens=lens,
        scrubber=scrubber,
        seed=gr.State(first.seed),
        shown=gr.State(idle_board(FIRST_PERCENT).model_dump()),
        found=gr.State(None),
        is_ready=gr.Checkbox(visible="hidden"),
        subject=gr.State(None),
        own=gr.State([]),
    )
    _wire(page)
    return page


def _create_controls(engine: Engine, page: ComparePage, first: Example) -> dict[str, Any]:
    picture = Picture(engine.limits, first.shown, label="Picture", show_label=False, height=220, elem_id="picture")
    with gr.Row(elem_id="gallery"):
        thumbnails = [_choice(example, page.ready.get(example)) for example in page.examples]
        picker = Picker(Choices(choices=thumbnails), elem_classes="picker-box", min_width=0)
        scene = gr.Button("New scene", elem_id="new-scene", size="sm")
    exhibits = [Choice(thumbnail=e.thumbnail, title=e.question, note=e.model) for e in page.gallery]
    made_elsewhere = Picker(
        Choices(heading="Made elsewhere", choices=exhibits),
        elem_id="made-elsewhere",
        elem_classes="picker-box",
        min_width=0,
        visible=bool(exhibits),
    )
    question = gr.Textbox(
        first.question, label="Question", max_lines=2, elem_id="question", placeholder="What do you want to know?"
    )
    with gr.Group(elem_id="budget-card"):
        percent = gr.Slider(
            0, LARGEST_PERCENT, FIRST_PERCENT, step=1, label="Visual FLOPs to save, %", elem_id="budget", buttons=[]
        )
        Budget(plans_of(engine.previews(), FIRST_PERCENT, engine.model_name), elem_id="preview")
    with gr.Row(elem_id="actions"):
        run = gr.Button("Run", variant="primary", elem_id="run")
        stop = gr.Button("Stop", elem_id="stop", interactive=False)
    notice = Notice(Message(text=READY), elem_id="notice")  # what went wrong with a run stands under Run
    sides = SidesPicker(Chosen.of(Sides()), elem_id="sides", elem_classes="bare")
    return {
        "picture": picture,
        "picker": picker,
        "new_scene": scene,
        "made_elsewhere": made_elsewhere,
        "question": question,
        "percent": percent,
        "sides": sides,
        "run": run,
        "stop": stop,
        "notice": notice,
    }


def _choice(example: Example, ready: Ready | None) -> Choice:
    differs = ready is not None and not ready.comparison.agree
    return Choice(thumbnail=data_uri(example.open(), _THUMBNAIL), title=example.title, differs=differs)


def _wire(page: ComparePage) -> None:
    parts = page.parts
    asked = [parts.picture, parts.question, parts.percent, parts.seed, parts.shown, parts.sides, parts.own]
    found = [parts.board, parts.scrubber, parts.notice, parts.shown, parts.found, parts.subject, parts.lens]
    # Each run begins at once and waits in the engine's line, where it takes the place of the visitor's last.
    at_once: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": None, **QUIET}
    gr.on([parts.run.click, parts.question.submit], page.run, asked, found, **at_once)
    parts.scrubber.paint(page.run_painted, asked, found, **at_once)
    parts.stop.click(page.stop, None, None, **AT_ONCE)
    # The last of several quick choices counts, not the first.
    picked = parts.picker.pick(page.pick, [parts.sides, parts.own], page.all_shown, trigger_mode="multiple", **AT_ONCE)
    drawn = parts.new_scene.click(page.draw_scene, None, page.all_shown, trigger_mode="multiple", **AT_ONCE)
    for begun in (picked, drawn):
        begun.then(None, parts.is_ready, None, js=RUN_BEGUN)
    # A picture of the visitor's own: nobody knows its true answers.
    parts.picture.input(lambda: None, None, parts.seed, **AT_ONCE)
    parts.picture.input(None, None, None, js=_TELL_OWN)
    parts.percent.change(None, parts.percent, None, js=_TELL_BUDGET)
    parts.question.change(None, parts.question, None, js=_TELL_QUESTION)
    parts.picture.change(None, parts.picture, None, js=_TELL_PICTURE)
