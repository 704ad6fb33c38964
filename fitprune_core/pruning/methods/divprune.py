"""DivPrune: before the decoder, the tokens that differ most from one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.before import ChosenBefore


@dataclass(frozen=True)
class DivPrune(ChosenBefore):
    """The subset whose nearest two tokens are farthest apart by cosine, chosen greedily (arXiv 2503.02175).

    The first token is the one whose nearest other is farthest; each further one is the farthest from all that were
    chosen. Tokens are compared as they enter the decoder. How many stay is solved for, so that as much is saved as the
    recipe would save for the picture; where whole tokens do not meet that, single tokens go inside the decoder, those
    that were chosen last.
    """

    name = "divprune"
    paper = "arXiv 2503.02175"
    scores_before = "pairs"

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
