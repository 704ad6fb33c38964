"""DivPrune: before the decoder, the tokens that differ most from one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates, Method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops, before_decoder, budget_of


@dataclass(frozen=True)
class DivPrune(Method):
    """The subset whose nearest two tokens are farthest apart by cosine, chosen greedily (arXiv 2503.02175).

    The first token is the one whose nearest other is farthest; each further one is the farthest from all that were
    chosen. Tokens are compared as they enter the decoder. How many stay is solved for, so that as much is saved as the
    recipe would save for the picture; where whole tokens do not meet that, single tokens go inside the decoder, those
    that were chosen last.
    """

    name = "divprune"
    paper = "arXiv 2503.02175"
    scores = "none"
    scores_before = "pairs"

    @property
    def follows_recipe(self) -> bool:
        return False

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        return before_decoder(geometry, num_visual_tokens, budget_of(recipe, geometry, num_visual_tokens))

    def importance_before(self, features: torch.Tensor, candidates: Candidates) -> torch.Tensor:
        unit = torch.nn.functional.normalize(features.float(), dim=-1)
        distances = 1.0 - unit @ unit.T
        count = distances.shape[0]
        others = distances + torch.diag(distances.new_full((count,), torch.inf))
        nearest = others.amin(dim=1)  # until one is chosen: to any other; then to those that are chosen
        importance = torch.zeros_like(nearest)
        for turn in range(candidates.num_kept):
            chosen = nearest.argmax()
            # Cosine distances are at most 2, so whatever is chosen ranks above the rest, the first highest.
            importance[chosen] = 3.0 + count - turn
            nearest = distances[chosen] if turn == 0 else torch.minimum(nearest, distances[chosen])
            nearest = nearest.masked_fill(importance > 0, -torch.inf)
        return torch.where(importance > 0, importance, nearest)

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return candidates.chosen_before()
