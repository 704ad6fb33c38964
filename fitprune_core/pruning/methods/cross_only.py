"""The other half of FitPrune's choice: what visual tokens receive from the text."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.ranking import Ranking


@dataclass(frozen=True)
class CrossOnly(Ranking):
    """Attention received from the text after the image alone; an ablation of arXiv 2409.10197."""

    name = "cross-only"
    paper = "arXiv 2409.10197"
    scores = "cross"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.cross_attention()
