"""How an answer is generated, as one checked thing: its length, what chooses its tokens, what ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decoding:
    """Options of one answer. As they stand they are greedy.

    Attributes:
        max_new_tokens: longest answer.
        num_beams: beams; 1 is no beam search.
        temperature: above 0 to sample, None to take the likeliest token.
        top_p, top_k: what sampling chooses from; None for everything.
        until: the answer ends before the first of these.

    Raises ValueError for an answer that may not have one token.
    """

    max_new_tokens: int = 64
    num_beams: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    until: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens}: an answer has at least one token")

    @property
    def is_greedy(self) -> bool:
        """Whether each token is the likeliest one: then an answer depends on nothing but its prompt."""
        return self.temperature is None and self.num_beams == 1

    def arguments(self) -> dict[str, Any]:
        """Arguments of `model.generate`. None where sampling is off, so that no checkpoint's own settings come in."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": self.temperature is not None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }

    def cut(self, text: str) -> str:
        """The answer before the first stop string, without white space around it."""
        for stop in self.until:
            text = text.partition(stop)[0]
        return text.strip()
