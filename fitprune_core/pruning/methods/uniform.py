"""A baseline that keeps a coarser picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.ranking import Ranking


@dataclass(frozen=True)
class Uniform(Ranking):
    """Keeps tokens evenly spaced in the order of the image: a baseline."""

    name = "uniform"
    scores = "none"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return self._ranks(candidates)

    def importance_before(self, features: torch.Tensor, candidates: Candidates) -> torch.Tensor:
        return self._ranks(candidates)

    def _ranks(self, candidates: Candidates) -> torch.Tensor:
        count, kept = candidates.tokens.shape[0], candidates.num_kept
        device = candidates.tokens.device
        middles = (2 * torch.arange(kept, device=device) + 1) * count // max(2 * kept, 1)
        return torch.zeros(count, device=device).index_fill_(0, middles, 1.0)
