"""A baseline that looks at nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates, check_whole
from fitprune_core.pruning.methods.ranking import Ranking


@dataclass(frozen=True)
class Random(Ranking):
    """A random order of the tokens, the same at every layer and for every picture: a baseline.

    seed: another seed is another order. Raises ValueError for what is no whole number from 0 up.
    """

    seed: int = 0

    name = "random"
    scores = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("seed", self.seed, 0)

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return self._ranks(candidates)

    def importance_before(self, features: torch.Tensor, candidates: Candidates) -> torch.Tensor:
        return self._ranks(candidates)

    def _ranks(self, candidates: Candidates) -> torch.Tensor:
        # Drawn on the CPU and for the whole image, so that a token's rank depends on no device and no earlier drop.
        generator = torch.Generator().manual_seed(self.seed)
        ranks = torch.randperm(candidates.num_visual_tokens, generator=generator)
        return ranks.to(candidates.tokens.device)[candidates.tokens]
