"""Recipes side by side: how many visual tokens each leaves after every layer, and the facts of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent
from fitprune_core import PruningRecipe, tokens_per_layer


class Curve(GradioModel):
    """One recipe.

    name: what people call it; group: whose recipes it belongs to. asked, achieved: shares of visual FLOPs. alpha: the
    fit's bound, None where it is not known. left: visual tokens that leave each layer, of `total`. about: how it was
    made, in words. file: the recipe file's content; shown: whether it is drawn at first. way: the name by which it is
    a side of a comparison, "" where it cannot be one.
    """

    name: str
    group: str
    asked: float
    achieved: float
    alpha: float | None
    left: list[int]
    total: int
    about: str
    file: str
    shown: bool
    way: str = ""

    @property
    def recipe(self) -> PruningRecipe:
        """The recipe that it is of."""
        return PruningRecipe.from_dict(json.loads(self.file))


class CurvesData(GradioModel):
    curves: list[Curve] = []


class Curves(BrowserComponent):
    """The table and the picture. The button of a recipe that can be a side fires `open` with its `way`."""

    folder = Path(__file__).resolve().parent
    scripts = ("../lines.js",)
    data_model = CurvesData


def recipes_of(curves: Iterable[Mapping[str, Any]]) -> dict[str, PruningRecipe]:
    """The recipes that can be sides of a comparison, each by its `way`. curves: as a page's state holds them."""
    return {curve.way: curve.recipe for curve in (Curve(**each) for each in curves) if curve.way}


def curve_of(recipe: PruningRecipe, group: str, *, name: str = "", shown: bool = False) -> Curve:
    """A recipe as the component shows it, by a name of its own, or by what it was asked to save."""
    asked = f"{100 * recipe.reduction:.3g} %"
    samples = f", {recipe.num_samples:,} samples" if recipe.num_samples else ""
    procedures = {"statistics": "fitted from statistics", "sequential": "fitted step by step, as the authors do"}
    made = procedures.get(recipe.procedure, "published by the authors")
    return Curve(
        name=name or asked,
        group=group,
        asked=recipe.reduction,
        achieved=recipe.achieved_reduction,
        alpha=recipe.alpha,
        left=tokens_per_layer(recipe.removed, recipe.num_visual_tokens),
        total=recipe.num_visual_tokens,
        about=f"for {asked}, {made}{samples}" if name else f"{made}{samples}",
        file=json.dumps(recipe.to_dict(), indent=1),
        shown=shown,
    )
