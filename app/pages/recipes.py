"""The Recipes page: how many visual tokens each recipe leaves, and a recipe of one's own."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Any

import gradio as gr

from app.asking.sides import Sides
from app.background.runs import CALIBRATE, Run, Runs
from app.budgets import LARGEST_PERCENT
from app.door.guard import NOT_OURS
from app.engine import Engine
from app.pages.compare import ComparePage
from app.pages.opening import opens_compare
from app.pages.run_page import RunPage
from app.pages.wiring import BUDGETS, LOOK, ONE_LINE, QUIET, told, wrong
from app.parts.curves import Curve, Curves, CurvesData, curve_of, recipes_of
from app.parts.notice import Message, Notice
from app.parts.sides import Chosen
from app.visitors.allowance import Asker
from app.words import counted
from fitprune_core import METHODS, RECIPES, AttentionStatistics, PruningRecipe, fit_recipe
from fitprune_core.recipes.published import published_recipes
from fitprune_core.run.results import ORIGINAL

_SHOWN = (40, 60, 80)  # the budgets whose curves of the loaded model are drawn first
_MOST_OWN = 20  # recipes of a visitor that are drawn, and kept for them
_LARGEST = 2**14  # bytes of an uploaded recipe; one of a hundred layers has two thousand
_LONGEST_NAME = 60  # characters of what a recipe is called beside an answer
_SEED = 1  # of the scenes that a recipe is fitted on: the same for every visitor
_READY = "Look at the recipes that are here, upload one, or fit one from your own pictures and questions."


@dataclass(frozen=True)
class Parts:
    """The components that events read and write.

    `own` holds the curves that this visitor added, for Compare as well; `token` that of their run, kept by the browser.
    """

    upload: gr.File
    questions: gr.File
    scenes: gr.Slider
    percent: gr.Slider
    run: gr.Button
    stop: gr.Button
    notice: Notice
    curves: Curves
    own: gr.State
    token: gr.BrowserState
    timer: gr.Timer


class RecipesPage(RunPage):
    """What the page's events do. What a run that was stopped has seen so far makes no recipe."""

    parts: Parts  # set by `create_recipes`
    stopped_early = "Stopped."
    meanwhile = "It goes on when you close the page, and is kept a day."

    @property
    def changed_by_results(self) -> list[gr.components.Component]:
        """The curves, and those among them that are the visitor's."""
        return [self.parts.curves, self.parts.own]

    @property
    def held_parts(self) -> list[gr.components.Component]:
        """The visitor's curves."""
        return [self.parts.own]

    def here(self) -> list[Curve]:
        """The recipes of the model that is loaded, and those that the authors published."""
        mine = f"{self.engine.model_name}, the model that is loaded"
        found = [curve_of(self.engine.recipe_for(each), mine, shown=each in _SHOWN) for each in BUDGETS]
        for folder in sorted(path for path in RECIPES.iterdir() if path.is_dir()):
            for recipe in published_recipes(folder.name):
                group = f"{folder.name}, published by the authors"
                found.append(curve_of(recipe, group).model_copy(update={"about": ""}))  # the group says it
        return found

    def add(self, path: str | None, own: list[dict[str, Any]]) -> dict:
        """A recipe file was uploaded: draw it beside the others."""
        parts = self.parts
        if path is None:
            return {parts.notice: Message(text=_READY)}
        try:
            if (size := Path(path).stat().st_size) > _LARGEST:
                raise ValueError(f"{Path(path).name} has {size:,} bytes; a recipe may have up to {_LARGEST:,} here")
            recipe = PruningRecipe.load(path)
        except ValueError as error:
            return {parts.notice: wrong(error)}
        curve = curve_of(recipe, f"uploaded: {recipe.model}", name=Path(path).stem, shown=True)
        return self._with(own, curve, Path(path).stem, "The uploaded recipe is drawn.")

    def begin(
        self, questions: str | None, scenes: int, percent: float, token: str | None, request: gr.Request
    ) -> dict[Any, Any]:
        """Begin to collect the statistics for a recipe."""

        def ask(asker: Asker) -> Run:
            return self.runs.ask(token, questions, int(scenes), [percent], seed=_SEED, task=CALIBRATE, asker=asker)

        return self.begun(ask, token, request)

    def results(self, run: Run, *held: Any) -> dict:
        """The recipe of a run's statistics, drawn beside the others."""
        (own,) = held
        curve = _fitted(run)
        seen = counted(curve.recipe.num_samples or 0, "sample")
        done = f"Fitted from {seen}: it saves {100 * curve.achieved:.1f} % of visual FLOPs."
        return self._with(own, curve, f"fitted on {run.plan.title}", done)

    def open_recipe(self, event: gr.EventData, own: list[dict[str, Any]], compare: ComparePage) -> dict:
        """A recipe of the visitor's is to be seen in Compare, beside the original."""
        way, recipes = told(event, "way"), recipes_of(own)
        if not isinstance(way, str) or way not in recipes:
            raise gr.Error(NOT_OURS, print_exception=False)
        percent = min(round(100 * recipes[way].reduction), LARGEST_PERCENT)  # that of FitPrune, if it is chosen beside
        chosen = Chosen.of(Sides(right=way, own={way: recipes[way]}), recipes)
        return {compare.parts.sides: chosen, compare.parts.percent: percent}

    def _with(self, own: list[dict[str, Any]], curve: Curve, name: str, words: str) -> dict:
        """Draw a curve of the visitor's own, and say so; beyond as many as they may have, the oldest goes.

        name: what the recipe is called beside an answer, if it can be compared.
        """
        if len(curve.left) == self.engine.geometry.num_layers:
            curve = curve.model_copy(update={"way": _unlike_others(name, {each["way"] for each in own})})
        added = [*own, curve.model_dump()]
        if len(added) > _MOST_OWN:
            oldest, *added = added
            words = f"{words} {_MOST_OWN} of yours are drawn at most: {oldest['name']} ({oldest['group']}) is gone."
        return {
            self.parts.notice: Message(text=words),
            self.parts.own: added,
            self.parts.curves: CurvesData(curves=[*(Curve(**c) for c in added), *self.here()]),
        }


def _unlike_others(name: str, taken: Container[str]) -> str:
    """A name as it is, or with a number; neither that of another recipe nor of a method."""
    name = name[:_LONGEST_NAME]
    numbered = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(each for each in numbered if each not in taken and each not in METHODS and each != ORIGINAL)


def _fitted(run: Run) -> Curve:
    """The recipe of a run's statistics, for the budget that was asked for. Raises ValueError and OSError."""
    recipe = _fit(run.results, run.results.stat().st_mtime_ns, run.plan.percents[0] / 100)
    return curve_of(recipe, f"fitted here: {run.plan.title}", shown=True)


@lru_cache(maxsize=8)
def _fit(path: Path, changed: int, reduction: float) -> PruningRecipe:
    """The recipe of a file of statistics, made once for each time that it was `changed`, not for each visit."""
    return fit_recipe(AttentionStatistics.load(path), reduction)


def create_recipes(
    engine: Engine, compare: ComparePage, tabs: gr.Tabs, runs: Runs, token: gr.BrowserState
) -> RecipesPage:
    """Lay out the page inside the current tab and wire its events. token: see `Parts`, outside of all tabs."""
    page = RecipesPage(engine, runs)
    with gr.Row(elem_classes="page-columns", equal_height=False):
        with gr.Column(elem_classes="page-controls", scale=0):
            gr.Markdown("**Open a recipe**", elem_classes="head")
            upload = gr.File(label="Recipe, JSON", file_types=[".json"], elem_id="recipe-file", **ONE_LINE)
            gr.Markdown("**Fit a recipe**", elem_classes="head")
            gr.Markdown("Pictures and a samples file in a zip; without one, new scenes.")
            questions = gr.File(label="Samples, zip", file_types=[".zip"], elem_id="fit-file", **ONE_LINE)
            scenes = gr.Slider(8, 200, 32, step=8, label="New scenes", elem_id="fit-scenes", buttons=[])
            percent = gr.Slider(
                1, LARGEST_PERCENT, 60, step=1, label="Visual FLOPs to save, %", elem_id="fit-budget", buttons=[]
            )
            with gr.Row(elem_id="fit-actions"):
                run = gr.Button("Fit", variant="primary", elem_id="fit")
                stop = gr.Button("Stop", elem_id="fit-stop", interactive=False)
            notice = Notice(Message(text=_READY), elem_id="recipes-notice", elem_classes="bare")
        with gr.Column(elem_classes="page-results", scale=1):
            curves = Curves(CurvesData(curves=page.here()), elem_id="curves", elem_classes="bare")
    own, timer = compare.parts.own, gr.Timer(LOOK, active=False)
    page.parts = Parts(upload, questions, scenes, percent, run, stop, notice, curves, own, token, timer)
    upload.upload(page.add, [upload, own], [notice, curves, own], **QUIET)
    run.click(page.begin, [questions, scenes, percent, token], [token, notice, timer, stop], **QUIET)
    page.follow()

    filled = [compare.parts.sides, compare.parts.percent]
    opens_compare(curves.open, tabs, lambda held, event: page.open_recipe(event, held, compare), own, filled)
    return page
