"""What a visitor asked for, and what he may ask of it afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from app.scenes import Example, link_of
from app.sides import Sides
from app.uploads import Upload
from fitprune_core import Comparison


@dataclass(frozen=True)
class Asked:
    """A comparison that somebody wants to see. seed: that of the scene, if the picture is one."""

    picture: Upload
    question: str
    percent: float
    seed: int | None
    sides: Sides

    def link(self, examples: Sequence[Example]) -> str:
        """What an address must ask for to show it again; "" for a picture that nobody else has."""
        link = link_of(examples, self.seed, self.question, self.percent)
        return "&".join(filter(None, (link, urlencode(self.sides.asked())))) if link else ""


@dataclass(frozen=True)
class Subject:
    """A comparison that is shown, and of both answers the tokens: their ids, and the text that each adds."""

    asked: Asked
    token_ids: tuple[tuple[int, ...], tuple[int, ...]]
    pieces: tuple[tuple[str, ...], tuple[str, ...]]

    @classmethod
    def of(cls, asked: Asked, comparison: Comparison) -> Subject:
        """What can be looked at of a comparison."""
        one, other = comparison.original, comparison.pruned
        return cls(asked, (one.token_ids, other.token_ids), (one.pieces, other.pieces))

    def first_difference(self) -> int:
        """The first place at which the answers have different tokens; 0 where they are the same."""
        one, other = self.token_ids
        places = [at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
        return places[0] if places else 0
