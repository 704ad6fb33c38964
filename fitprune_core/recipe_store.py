"""Where a model's recipes come from: its own statistics if there are any, else what its authors published."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fitprune_core.fitting import fit_recipe
from fitprune_core.flops import DecoderGeometry
from fitprune_core.published import RECIPES, interpolate_published, published_recipes, recipe_folder
from fitprune_core.recipe import PruningRecipe, check_share, same_checkpoint
from fitprune_core.statistics import AttentionStatistics

STATISTICS = "statistics.npz"
FIT = "fit.json"


@dataclass(frozen=True)
class FitOptions:
    """How recipes of one model are fitted, where not by default: the fields of `fit.json` beside its statistics.

    Attributes:
        first_drop_layer: as for `fit_recipe`.
        largest_reduction: the largest budget that this holds for; above it every layer may drop.
        why: the reason, in words.

    Raises ValueError naming what cannot be.
    """

    first_drop_layer: int = 0
    largest_reduction: float = 0.99
    why: str = ""

    def __post_init__(self) -> None:
        check_share("largest_reduction", self.largest_reduction)
        if not isinstance(self.first_drop_layer, int) or self.first_drop_layer < 0:
            raise ValueError(f"first_drop_layer must be a whole number from 0 up, not {self.first_drop_layer!r}")

    @classmethod
    def load(cls, path: Path) -> FitOptions:
        """Read the file. Raises ValueError naming it and what is wrong with it."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error

    def fit(self, statistics: AttentionStatistics, reduction: float) -> PruningRecipe:
        """The recipe for a budget, 0 <= reduction < 1."""
        first = self.first_drop_layer if reduction <= self.largest_reduction else 0
        return fit_recipe(statistics, reduction, first_drop_layer=first)


def recipe_source(
    model_name: str, geometry: DecoderGeometry, recipes: str | os.PathLike = RECIPES
) -> Callable[[float], PruningRecipe]:
    """A function from a reduction (0 <= reduction < 1) to a recipe for the model; files are read once, here.

    recipes: folder that holds a folder for each model, with its `statistics.npz`, and `fit.json` where recipes are not
    fitted by default, or its `published-*.json`. Raises ValueError where there is neither, or the statistics are of
    another model.
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
        options = FitOptions.load(folder / FIT) if (folder / FIT).is_file() else FitOptions()
        return partial(options.fit, statistics)
    published = published_recipes(model_name, recipes)
    if published:
        return lambda reduction: interpolate_published(published, reduction, geometry)
    raise ValueError(
        f"there are no statistics of {model_name} in {Path(recipes)}; make {Path(recipes) / model_name / STATISTICS} "
        "with `python -m fitprune_core calibrate`, or name a recipe file"
    )
