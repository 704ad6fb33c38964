"""Which visual tokens go: one small class a method. How many go at each layer is the recipe's business.

A method looks at one layer of one sample and gives every visual token that is still there an importance; the least
important are dropped. To add one: subclass `Method`, give it a `name`, say in `scores` what it reads (for the FLOPs),
write `importance`, and put it into `METHODS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from fitprune_core.pruning.attention import LayerAttention


@dataclass(frozen=True)
class Candidates:
    """The visual tokens that arrive at a layer that drops some.

    tokens: their numbers in the image, ascending, LongTensor (count,); num_visual_tokens: how many the image had;
    num_kept: how many of `tokens` will stay.
    """

    tokens: torch.Tensor
    num_visual_tokens: int
    num_kept: int


class Method(ABC):
    """A way to rank visual tokens.

    Attributes:
        name: what users call it.
        scores: the attention it computes, in the words of `flops.request_flops`: "both", "self", "cross", "last" (one
            query) or "none".
    """

    name: str
    scores: str

    @abstractmethod
    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        """Importance of each candidate, (count,), on the device of `attention`: the least important are dropped."""


class FitPrune(Method):
    """Product of self- and cross-attention received (arXiv 2409.10197)."""

    name = "fitprune"
    scores = "both"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.self_and_cross().prod(dim=0)


class SelfOnly(Method):
    """Attention received from the other visual tokens alone."""

    name = "self-only"
    scores = "self"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.self_attention()


class CrossOnly(Method):
    """Attention received from the text after the image alone."""

    name = "cross-only"
    scores = "cross"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.cross_attention()


class FastV(Method):
    """Attention received from the prompt's last token, mean over heads (arXiv 2403.06764).

    FastV prunes once; here it ranks, and the recipe says how many go at which layer.
    """

    name = "fastv"
    scores = "last"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return attention.last_query_attention()


class Random(Method):
    """A random order of the tokens, the same at every layer and for every picture: a baseline.

    seed: another seed is another order.
    """

    name = "random"
    scores = "none"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        # Drawn on the CPU and for the whole image, so that a token's rank depends on no device and no earlier drop.
        generator = torch.Generator().manual_seed(self.seed)
        ranks = torch.randperm(candidates.num_visual_tokens, generator=generator)
        return ranks.to(candidates.tokens.device)[candidates.tokens]


class Uniform(Method):
    """Keeps tokens evenly spaced in the order of the image: a baseline."""

    name = "uniform"
    scores = "none"

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        count, kept = candidates.tokens.shape[0], candidates.num_kept
        middles = (2 * torch.arange(kept) + 1) * count // max(2 * kept, 1)
        return torch.zeros(count).index_fill_(0, middles, 1.0).to(candidates.tokens.device)


METHODS: dict[str, type[Method]] = {
    method.name: method for method in (FitPrune, SelfOnly, CrossOnly, Random, Uniform, FastV)
}


def find_method(method: str | Method) -> Method:
    """A method by its name, or as it is. Raises ValueError naming the known ones."""
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    return METHODS[method]()
