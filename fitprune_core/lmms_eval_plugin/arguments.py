"""What may stand in `--model_args`, and what must not."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fitprune_core.models.loading import HUB_DEFAULT
from fitprune_core.models.options import LoadOptions
from fitprune_core.pruning.methods import find_method
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.recipe import check_share
from fitprune_core.run.batch import check_batch_size


@dataclass(frozen=True)
class Arguments(LoadOptions):
    """The arguments of the model, checked as far as that needs no model: those of `LoadOptions`, and these.

    Attributes:
        pretrained: what to load, see `loading.load_model`.
        reduction: share of visual compute to save, 0 <= reduction < 1; 0 is the original model. None with `recipe`.
        recipe: a recipe file instead of a share.
        recipes: folder that holds a folder for each model.
        method: what ranks the tokens, a name in `METHODS`.
        batch_size: requests at once, from 1 up, or "auto"; see `batch.BatchSize`.
    """

    pretrained: str = HUB_DEFAULT
    reduction: float | None = None
    recipe: Path | None = None
    recipes: Path = RECIPES
    method: str = "fitprune"
    batch_size: int | str = 1

    def __post_init__(self) -> None:
        if (self.reduction is None) == (self.recipe is None):
            given = "neither is" if self.recipe is None else "both are"
            raise ValueError(
                f"give a budget, reduction=0.6 (0 for the original model), or a recipe file, recipe=FILE; {given} given"
            )
        if self.reduction is not None:
            object.__setattr__(self, "reduction", check_share("reduction", self.reduction))
        # Commands turn whatever looks like a number into one, names of folders too.
        kinds = dict.fromkeys(("pretrained", *LoadOptions.names()), str) | dict.fromkeys(("recipe", "recipes"), Path)
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, kind(str(value)))
        find_method(self.method)
        check_batch_size(self.batch_size)

    @classmethod
    def from_given(cls, given: dict[str, Any]) -> Arguments:
        """The arguments of a command, by name. Raises ValueError, one sentence, naming what cannot be."""
        known = sorted(field.name for field in fields(cls))
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ValueError(f"model_args has {', '.join(unknown)}; known are {', '.join(known)}")
        return cls(**given)
