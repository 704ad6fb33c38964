"""The authors' own recipes, kept as files in recipes/, and budgets between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fitprune_core.checks.files import path_of
from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.recipes.budget import check_reachable, round_to_budget, saved_share
from fitprune_core.recipes.recipe import PruningRecipe, check_share, same_checkpoint
from fitprune_core.recipes.shipped import shipped

RECIPES = shipped("recipes")
# What a budget may ask beyond the share of counts that meet it: that share is a sum of floats, the largest budget a
# ratio of whole numbers, and rounding sets them apart in the last digit or two.
_ROUNDING = 1e-12


def recipe_folder(model_name: str, recipes: str | os.PathLike = RECIPES) -> Path | None:
    """The folder of recipes for a checkpoint, by its Hub id or folder name; None where there is none.

    It is `recipes/<owner>/<name>` where that is there, else `recipes/<name>`, else that of another owner.
    """
    recipes = path_of(recipes, "recipes")
    folders = [path for depth in ("*", "*/*") for path in sorted(recipes.glob(depth)) if path.is_dir()]
    found = [path for path in folders if same_checkpoint(path.name, model_name)]
    asked = str(model_name).casefold().rstrip("/").split("/")[-2:]
    own = (path for path in found if len(asked) == 2 and [path.parent.name.casefold(), path.name.casefold()] == asked)
    return next(own, next(iter(found), None))


def published_recipes(model_name: str, recipes: str | os.PathLike = RECIPES) -> list[PruningRecipe]:
    """The recipes that the authors published for a checkpoint, by rising budget; empty where there are none.

    Each says in `achieved_reduction` what its counts save, which is less than its name says because the authors
    rounded down. Raises ValueError for a file that is broken.
    """
    folder = recipe_folder(model_name, recipes)
    found = [PruningRecipe.load(path) for path in folder.glob("published-*.json")] if folder else []
    return sorted(found, key=lambda recipe: recipe.reduction)


def interpolate_published(
    published: Sequence[PruningRecipe],
    reduction: float,
    model_config: Any,
    num_visual_tokens: int | None = None,
) -> PruningRecipe:
    """A recipe that saves exactly `reduction`, mixed from the two published ones around it; its source says so.

    The mix is linear in the counts of each layer. Below the lowest published budget it is between that and removing
    nothing, above the highest between that and removing every visual token at the first layer.

    Args:
        published: recipes of one checkpoint, at least one.
        reduction: share of visual compute to save, 0 <= reduction < 1.
        model_config: configuration of the model, for its cost.
        num_visual_tokens: tokens to make the recipe for, if not those of the published ones.

    Raises ValueError for a budget that cannot be met, or for recipes of another depth than the model's.
    """
    reduction = check_share("reduction", reduction)
    if not published:
        raise ValueError("there is no published recipe to start from")
    geometry = DecoderGeometry.from_config(model_config)
    for recipe in published:
        recipe.check_model(geometry.num_layers)
    tokens = published[0].num_visual_tokens if num_visual_tokens is None else num_visual_tokens
    check_reachable(geometry, tokens, reduction)
    below, above = _neighbours(published, reduction, geometry, tokens)
    counts = round_to_budget(geometry, _mix(geometry, below[1], above[1], tokens, reduction), tokens, reduction)
    return PruningRecipe(
        model=published[0].model,
        num_layers=geometry.num_layers,
        num_visual_tokens=tokens,
        reduction=reduction,
        achieved_reduction=visual_reduction(geometry, counts, tokens),
        removed=counts,
        procedure="published",
        attention=published[0].attention,
        image_aspect=published[0].image_aspect,
        source=f"interpolated between {below[0]} and {above[0]}; {published[0].source}",
    )


def _neighbours(
    published: Sequence[PruningRecipe], reduction: float, geometry: DecoderGeometry, tokens: int
) -> tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]:
    """The two recipes, each as (what it is, counts), that save at most and more than `reduction`."""
    everything = np.zeros(geometry.num_layers)
    everything[0] = tokens
    anchors = [("removing nothing", np.zeros(geometry.num_layers)), ("removing everything at once", everything)]
    for recipe in published:
        words = f"the published {recipe.reduction:.0%} (which saves {recipe.achieved_reduction:.1%})"
        anchors.append((words, np.array(recipe.removed) * (tokens / recipe.num_visual_tokens)))
    anchors.sort(key=lambda anchor: saved_share(geometry, anchor[1], tokens))
    least = reduction - _ROUNDING
    above = next(at for at, (_, counts) in enumerate(anchors) if saved_share(geometry, counts, tokens) >= least)
    return anchors[max(above - 1, 0)], anchors[max(above, 1)]


def _mix(geometry: DecoderGeometry, below: np.ndarray, above: np.ndarray, tokens: int, reduction: float) -> np.ndarray:
    """The linear mix of two recipes that saves `reduction`, by bisection, since the cost is quadratic in the counts."""
    low, high = 0.0, 1.0
    while low < (share := (low + high) / 2) < high:
        saved = saved_share(geometry, below + share * (above - below), tokens)
        low, high = (share, high) if saved < reduction else (low, share)
    return below + high * (above - below)
