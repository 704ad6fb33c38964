"""Where a model's recipes come from: its own statistics if there are any, else what its authors published."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.recipes.fit import fit_recipe
from fitprune_core.recipes.published import RECIPES, interpolate_published, published_recipes, recipe_folder
from fitprune_core.recipes.recipe import PruningRecipe, same_checkpoint
from fitprune_core.recipes.statistics import AttentionStatistics

STATISTICS = "statistics.npz"


def recipe_source(
    model_name: str, geometry: DecoderGeometry, recipes: str | os.PathLike = RECIPES
) -> Callable[[float], PruningRecipe]:
    """A function from a reduction (0 <= reduction < 1) to a recipe for the model; files are read once, here.

    recipes: folder that holds a folder for each model, with its `statistics.npz` or its `published-*.json`. Raises
    ValueError where there is neither, or the statistics are of another model.
    """
    folder = recipe_folder(model_name, recipes)
    if folder is not None and (folder / STATISTICS).is_file():
        statistics = AttentionStatistics.load(folder / STATISTICS)
        if not same_checkpoint(statistics.model, model_name):
            raise ValueError(f"statistics {folder / STATISTICS} are of {statistics.model}, not of {model_name}")
        if statistics.geometry != geometry:
            raise ValueError(
                f"statistics {folder / STATISTICS} are of a model of another shape than {model_name}: "
                f"{statistics.geometry}, not {geometry}"
            )
        return partial(fit_recipe, statistics)
    published = published_recipes(model_name, recipes)
    if published:
        return lambda reduction: interpolate_published(published, reduction, geometry)
    raise ValueError(
        f"there are no statistics of {model_name} in {Path(recipes)}; make {Path(recipes) / model_name / STATISTICS} "
        "with `python -m fitprune_core calibrate`, or name a recipe file"
    )
