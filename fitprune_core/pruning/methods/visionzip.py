"""VisionZip's dominant tokens: before the decoder, those that the vision tower itself looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates, Method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops, before_decoder, budget_of


@dataclass(frozen=True)
class VisionZipDominant(Method):
    """The tokens that receive most attention from the class token in the tower's layer that the model reads, mean over
    heads; in towers without a class token, from the mean patch (arXiv 2412.04467).

    Only the paper's dominant tokens: it merges the rest into a few contextual ones, which is not done here, and it adds
    the class token, which a model that does not read it has no place for. How many stay is solved for, so that as much
    is saved as the recipe would save for the picture; where whole tokens do not meet that, single tokens go inside the
    decoder, by the same ranking. A newline of LLaVA-NeXT and LLaVA-OneVision ranks as the mean of its line. Defined
    where visual tokens are patches of one layer of CLIP or SigLIP; other models are refused.
    """

    name = "visionzip-dominant"
    paper = "arXiv 2412.04467"
    scores = "none"
    scores_before = "tower"

    @property
    def follows_recipe(self) -> bool:
        return False

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        return before_decoder(geometry, num_visual_tokens, budget_of(recipe, geometry, num_visual_tokens))

    def importance_before(self, features: torch.Tensor, candidates: Candidates) -> torch.Tensor:
        return candidates.received_in_tower()

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return candidates.chosen_before()
