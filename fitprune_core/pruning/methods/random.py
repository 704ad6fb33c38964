"""A baseline that looks at nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fitprune_core.checks.numbers import whole
from fitprune_core.checks.words import shown
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods.base import Candidates
from fitprune_core.pruning.methods.ranking import Ranking

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Random(Ranking):
    """A random order of the tokens, the same at every layer and for every picture: a baseline.

    seed: another seed is another order. Raises ValueError for what is no whole number from 0 to 2**63 - 1.
    """

    seed: int = 0

    name = "random"
    scores = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        if self.seed > LARGEST_SEED:
            raise ValueError(f"seed is {shown(self.seed)}; it may be up to {LARGEST_SEED}, what torch takes")

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return self._ranks(candidates)

    def importance_before(self, features: torch.Tensor, candidates: Candidates) -> torch.Tensor:
        return self._ranks(candidates)

    def _ranks(self, candidates: Candidates) -> torch.Tensor:
        # Drawn on the CPU and for the whole image, so that a token's rank depends on no device and no earlier drop.
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        ranks = torch.randperm(candidates.num_visual_tokens, generator=generator, device="cpu")
        return ranks.to(candidates.tokens.device)[candidates.tokens]
