"""FastV: once, early, by the last token's attention."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch

from fitprune_core.checks.numbers import whole
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates, Method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import ONE_SHOT_LAYER, Drops, budget_of, one_shot


@dataclass(frozen=True)
class FastV(Method):
    """All tokens go through the first layers; then those stay that receive most attention there from the prompt's last
    token, mean over heads (arXiv 2403.06764).

    How many stay is solved for, so that as much is saved as the recipe would save for the picture; where whole tokens
    do not meet that, single tokens go later, by the same rule. The drop lies before the output projection of layer
    `layer`, not after its MLP: what the MLP would make of dropped tokens is never read, so the answer is FastV's and
    the work less. layer: the last of the first layers, counted from 1; None for the paper's 2, or for 1 where 2 cannot
    save as much.
    """

    layer: int | None = None

    name = "fastv"
    paper = "arXiv 2403.06764"
    scores = "last"
    usual = MappingProxyType({"layer": f"{ONE_SHOT_LAYER}, as in its paper"})

    def __post_init__(self) -> None:
        if self.layer is not None:
            object.__setattr__(self, "layer", whole("layer", self.layer, 1))

    @property
    def follows_recipe(self) -> bool:
        return False

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        return one_shot(geometry, num_visual_tokens, budget_of(recipe, geometry, num_visual_tokens), self.layer)

    def placed(self, drops: Drops) -> str:
        if not drops:
            return ""
        layer = drops.removed.index(max(drops.removed)) + 1  # single tokens may go later
        return f"after layer {layer}" + ", as in its paper" * (layer == ONE_SHOT_LAYER)

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.last_query_attention()
