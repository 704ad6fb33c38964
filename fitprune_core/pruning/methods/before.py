"""Methods that choose before the decoder."""

from __future__ import annotations

import torch

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates, Method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops, before_decoder, budget_of


class ChosenBefore(Method):
    """All tokens go before the decoder, by `importance_before`.

    How many stay is solved for, so that as much is saved as the recipe would save for the picture; where whole tokens
    do not meet that, single tokens go inside the decoder, by the same importance.
    """

    scores = "none"
    ranks_by_before = True

    @property
    def follows_recipe(self) -> bool:
        return False

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        return before_decoder(geometry, num_visual_tokens, budget_of(recipe, geometry, num_visual_tokens))

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return candidates.chosen_before()
