"""PyramidDrop: a staircase, by the last token's attention."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch

from fitprune_core.checks.numbers import whole
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates, Method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import STAGES, Drops, budget_of, staircase


@dataclass(frozen=True)
class PyramidDrop(Method):
    """The layers in equal stages; at the end of each but the last a fixed share of the visual tokens stays: those that
    receive most attention from the last token of the instruction, mean over heads (arXiv 2410.17247).

    The last token of the instruction is the prompt's last, as in the authors' code. That code ranks by the attention of
    the layer that follows a stage, before it runs; here it is the last layer of the stage, as the paper says. The share
    is solved for, so that as much is saved as the recipe would save for the picture; where whole tokens do not meet
    that, single tokens go at other layers, by the same rule. stages: None for the paper's 4, or as many more as it
    takes for every stage to pass on a quarter of its tokens.
    """

    stages: int | None = None

    name = "pyramiddrop"
    paper = "arXiv 2410.17247"
    scores = "last"
    usual = MappingProxyType({"stages": f"{STAGES}, as in its paper"})

    def __post_init__(self) -> None:
        if self.stages is not None:
            object.__setattr__(self, "stages", whole("stages", self.stages, 2))

    @property
    def follows_recipe(self) -> bool:
        return False

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        return staircase(geometry, num_visual_tokens, budget_of(recipe, geometry, num_visual_tokens), self.stages)

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.last_query_attention()
