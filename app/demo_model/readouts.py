"""Linear read-outs that teach a hidden state what it should know; thrown away after training."""

from __future__ import annotations

import torch
from torch import nn


class ReadOuts(nn.Module):
    """One linear layer for several questions: (..., width) -> {name: (..., values)}.

    Linear, because what can be read off linearly is what the next layer, or LLaVA's projector, can pass on.
    """

    def __init__(self, width: int, sizes: dict[str, int]):
        super().__init__()
        self.sizes = sizes
        self.norm = nn.LayerNorm(width)
        self.heads = nn.Linear(width, sum(sizes.values()))

    def forward(self, states: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.heads(self.norm(states)).split(list(self.sizes.values()), dim=-1)
        return dict(zip(self.sizes, scores, strict=True))
