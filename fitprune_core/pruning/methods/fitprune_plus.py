"""FitPrune+: different tokens enter, fewer and fewer go on, and all leave half way."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch

from fitprune_core.checks.numbers import whole
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.divprune import DivPrune
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops, budget_of, withdrawal


@dataclass(frozen=True)
class FitPrunePlus(DivPrune):
    """This project's own combination of three papers' parts: the tokens that differ most from one another enter, and go
    half way, where the text has read the picture.

    After `layer` layers the text has read the picture, and no visual token goes deeper (VTW, arXiv 2405.05803). What
    that does not save of the budget is saved earlier, where attention is not about the question yet: the tokens that
    differ most from one another enter, in the order in which DivPrune chooses them (arXiv 2503.02175), and half way to
    `layer` as large a share of them leaves as never entered, half at most: those that were chosen last. A budget that
    asks for less than all to leave lets those go deeper that receive most self- and cross-attention after `layer`
    layers (FitPrune, arXiv 2409.10197). FitPrune itself decides by that in the first layers, and so loses details that
    are asked for.

    The share is solved for, so that as much is saved as the recipe would save for the picture; where whole tokens do
    not meet that, single tokens go at other layers, by the same order. layer: counted from 1; None for half of the
    decoder. Raises ValueError for what is no whole number from 1 up.
    """

    layer: int | None = None

    name = "fitprune+"
    paper = "arXiv 2409.10197, 2405.05803 and 2503.02175, combined here"
    scores = "both"
    usual = MappingProxyType({"layer": "half of all"})
    ranks_by_before = False  # where nothing goes before the decoder, attention chooses

    def __post_init__(self) -> None:
        if self.layer is not None:
            object.__setattr__(self, "layer", whole("layer", self.layer, 1))

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        return withdrawal(geometry, num_visual_tokens, budget_of(recipe, geometry, num_visual_tokens), self.layer)

    def scores_after(self, removed_before: int) -> str:
        return "none" if removed_before else self.scores

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        if candidates.before is not None:
            return candidates.before
        return attention.self_and_cross().prod(dim=0)
