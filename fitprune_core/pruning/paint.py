"""Visual tokens that must stay or go whatever a method thinks of them: somebody painted them by hand.

How many go at each layer does not change, so what is painted costs what was not: the only test of what an answer needs
that holds the work still.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import torch

from fitprune_core.checks.words import shown
from fitprune_core.recipes.schedules import Drops


def _tokens(name: str, given: Iterable[int]) -> tuple[int, ...]:
    try:
        tokens = sorted({operator.index(token) for token in given})
    except TypeError as error:
        raise ValueError(f"{name} is a list of visual tokens by number, not {shown(given)}") from error
    if tokens and tokens[0] < 0:
        raise ValueError(f"{name} holds visual token {shown(tokens[0])}; they are numbered from 0")
    return tuple(tokens)


@dataclass(frozen=True)
class Paint:
    """What was painted of one picture, by the numbers of its visual tokens, from 0; ascending, each once.

    stay: ranked above all others, so that they stay at every layer. go: ranked below all others, so that they go first.
    Raises ValueError for what is no number of a token, and for one that must do both.
    """

    stay: tuple[int, ...] = ()
    go: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("stay", "go"):
            object.__setattr__(self, name, _tokens(name, getattr(self, name)))
        both = sorted({*self.stay} & {*self.go})
        if both:
            raise ValueError(f"visual token {shown(both[0])} must both stay and go; choose one")

    @classmethod
    def of(cls, stay: Iterable[int], go: Iterable[int]) -> Paint:
        """What was painted, from any lists of numbers."""
        return cls(_tokens("stay", stay), _tokens("go", go))

    def __bool__(self) -> bool:
        """Whether anything was painted."""
        return bool(self.stay or self.go)

    def check(self, drops: Drops, num_visual_tokens: int) -> None:
        """Raise ValueError where a picture has fewer tokens than that, or a layer keeps fewer than must stay."""
        last = max((*self.stay, *self.go), default=-1)
        if last >= num_visual_tokens:
            told = "must stay" if last in self.stay else "must go first"
            raise ValueError(f"visual token {shown(last)} {told}, but this picture has {num_visual_tokens}, from 0 up")
        left = list(accumulate((drops.before, *drops.removed), operator.sub, initial=num_visual_tokens))[1:]
        layer = next((layer for layer, kept in enumerate(left) if kept < len(self.stay)), None)
        if layer is not None:
            where = f"layer {layer} leaves" if layer else "what enters layer 1 is"
            raise ValueError(
                f"{len(self.stay)} visual tokens must stay, but {where} {left[layer]} at this budget; let fewer stay, "
                "or save less"
            )

    def reorder(self, order: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """A ranking, least important first, with what was painted at its ends; within each part it stays as it was.

        order: positions in `tokens`, (batch, count); tokens: their numbers, (batch, count).
        """
        groups = torch.ones_like(tokens)
        groups[torch.isin(tokens, tokens.new_tensor(self.go))] = 0
        groups[torch.isin(tokens, tokens.new_tensor(self.stay))] = 2
        return order.gather(1, groups.gather(1, order).argsort(dim=1, stable=True))


UNPAINTED = Paint()
