"""Half of FitPrune's choice: what visual tokens receive from one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.ranking import Ranking


@dataclass(frozen=True)
class SelfOnly(Ranking):
    """Attention received from the other visual tokens alone; an ablation of arXiv 2409.10197."""

    name = "self-only"
    paper = "arXiv 2409.10197"
    scores = "self"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.self_attention()
