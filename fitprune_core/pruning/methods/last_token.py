"""The choice of FastV and PyramidDrop, at the layers of FitPrune's recipe."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.ranking import Ranking


@dataclass(frozen=True)
class LastToken(Ranking):
    """Attention received from the prompt's last token, mean over heads (arXiv 2403.06764)."""

    name = "last-token"
    paper = "arXiv 2403.06764"
    scores = "last"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.last_query_attention()
