"""Where a model's recipes come from: its own statistics if there are any, else what its authors published."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fitprune_core.checks.words import shown
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.recipes.fit import fit_recipe
from fitprune_core.recipes.published import RECIPES, interpolate_published, published_recipes, recipe_folder
from fitprune_core.recipes.recipe import PruningRecipe, same_checkpoint
from fitprune_core.recipes.statistics import AttentionStatistics

STATISTICS = "statistics.npz"
# How the advice ends where a model has no recipes. A second budget of a command has no file of its own.
OR_A_FILE = ", or name a recipe file"


def statistics_path(model_name: str, recipes: str | os.PathLike = RECIPES) -> Path:
    """Where the statistics of a checkpoint belong: `recipes/<owner>/<name>/statistics.npz`, which is where they are
    looked for first; without an owner where the model is a folder of this machine.
    """
    owner_and_name = str(model_name).replace("\\", "/").strip("/").split("/")
    parts = owner_and_name if len(owner_and_name) == 2 else owner_and_name[-1:]
    return Path(recipes, *parts, STATISTICS)


def recipe_for(
    model_name: str,
    reduction: float,
    *,
    geometry: DecoderGeometry | None = None,
    recipes: str | os.PathLike = RECIPES,
) -> PruningRecipe:
    """The recipe of a model for one budget, 0 <= reduction < 1: the rule of library, command line, app and plugin.

    geometry: sizes of the model's decoder, needed only where there are no statistics, which hold them, but published
    recipes. The two around `reduction` are then mixed, even where one bears its number, since that one saves a little
    more or less; `PruningRecipe.load` reads a published recipe as it is.
    recipes: as for `recipe_source`, which reads files once for any number of budgets. Raises ValueError as it does.
    """
    return recipe_source(model_name, geometry, recipes)(reduction)


def recipe_source(
    model_name: str, geometry: DecoderGeometry | None, recipes: str | os.PathLike = RECIPES
) -> Callable[[float], PruningRecipe]:
    """A function from a reduction (0 <= reduction < 1) to a recipe for the model; files are read once, here.

    recipes: folder that holds a folder for each model, with its `statistics.npz` or its `published-*.json`. Raises
    ValueError where there is neither, or the statistics are of another model.
    """
    if not isinstance(model_name, str):
        raise ValueError(f"model_name is {shown(model_name)}; give the model's name, as `model_name(model)` tells it")
    folder = recipe_folder(model_name, recipes)
    if folder is not None and (folder / STATISTICS).is_file():
        statistics = AttentionStatistics.load(folder / STATISTICS)
        if not same_checkpoint(statistics.model, model_name):
            raise ValueError(f"statistics {folder / STATISTICS} are of {statistics.model}, not of {model_name}")
        if geometry is not None and statistics.geometry != geometry:
            raise ValueError(
                f"statistics {folder / STATISTICS} are of a model of another shape than {model_name}: "
                f"{statistics.geometry}, not {geometry}"
            )
        return partial(fit_recipe, statistics)
    published = published_recipes(model_name, recipes)
    if published and geometry is None:
        there = ", ".join(f"{100 * recipe.reduction:g}" for recipe in published)
        raise ValueError(
            f"{model_name} has published recipes ({there} %), which save a little more or less than their names say; "
            "what saves a share exactly is mixed from two of them, for which its sizes are needed: give "
            "geometry=DecoderGeometry.from_config(model.config), or take one as it is, by PruningRecipe.load(file)"
        )
    if published and geometry is not None:
        return lambda reduction: interpolate_published(published, reduction, geometry)
    raise ValueError(
        f"there are no statistics of {model_name} in {Path(recipes)}; make {statistics_path(model_name, recipes)} "
        f"with `python -m fitprune_core calibrate`{OR_A_FILE}"
    )
