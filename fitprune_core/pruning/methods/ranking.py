"""Methods that rank tokens inside layers, at whatever schedule."""

from __future__ import annotations

from dataclasses import dataclass

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.methods.base import Method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops, check_schedule, drops_by


@dataclass(frozen=True, kw_only=True)
class Ranking(Method):
    """A ranking, and a schedule that says how many go at which layer: two things, freely combined.

    schedule: "recipe", FitPrune's own; "one-shot", all at once after layer 2 ("one-shot@3": after layer 3);
    "staircase", in 4 stages ("staircase@8": in 8); for rankings that read no attention also "before", all at once
    before the decoder, and "withdrawal", some there, some later, and all after half of its layers ("withdrawal@3":
    after layer 3). See `recipes.schedules`, by which all of them save what the recipe saves. Raises ValueError for
    another.
    """

    schedule: str = "recipe"

    def __post_init__(self) -> None:
        name, _ = check_schedule(self.schedule)
        if name in ("before", "withdrawal") and self.scores != "none":
            raise ValueError(f"schedule is {name!r}, but {self.name} ranks by attention inside the layers")

    @property
    def follows_recipe(self) -> bool:
        return self.schedule == "recipe"

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        return drops_by(self.schedule, recipe, geometry, num_visual_tokens)
