"""FitPrune's own choice."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.ranking import Ranking


@dataclass(frozen=True)
class FitPrune(Ranking):
    """Attention received from the other visual tokens times that from the text after the image (arXiv 2409.10197)."""

    name = "fitprune"
    paper = "arXiv 2409.10197"
    scores = "both"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.self_and_cross().prod(dim=0)
