"""What a visitor asked for, and what they may ask of it afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from app.asking.scenes import Example, KnownAnswer, link_of
from app.asking.sides import Sides
from app.door.uploads import Upload
from fitprune_core import Comparison
from fitprune_core.pruning.paint import UNPAINTED, Paint
from fitprune_core.run.results import ORIGINAL

MOST_PAINTED = 100_000  # visual tokens; no model makes as many of one picture


def painted(stay: Any, go: Any) -> Paint:
    """What a visitor painted, whatever they sent. Raises ValueError for what cannot be."""
    for given in (stay, go):
        if isinstance(given, list | tuple | str) and len(given) > MOST_PAINTED:
            raise ValueError(f"{len(given):,} painted patches are more than a picture has.")
    return Paint(stay, go)


def link_to(
    examples: Sequence[Example],
    seed: int | KnownAnswer | None,
    question: str,
    percent: float,
    sides: Sides,
    *,
    is_own: bool,
) -> str:
    """What an address must ask for to show a comparison again; "" for a picture that nobody else has, and for what no
    address tells (`is_own`): patches that were painted, a recipe of the visitor's.
    """
    link = "" if is_own else link_of(examples, seed, question, percent)
    return "&".join(filter(None, (link, urlencode(sides.asked())))) if link else ""


@dataclass(frozen=True)
class Asked:
    """A comparison that somebody wants to see. seed: that of the scene, if the picture is one, or the answer
    that came with its question.
    """

    picture: Upload
    question: str
    percent: float
    seed: int | KnownAnswer | None
    sides: Sides
    paint: Paint = UNPAINTED

    def ways(self) -> dict[str, Any]:
        """What `Engine.compare` and `Engine.look` are told of the sides.

        The right one is painted, unless only the left one prunes.
        """
        against, pruned = self.sides.against(self.percent), self.sides.pruned(self.percent)
        if pruned.method == ORIGINAL:
            against = replace(against, paint=self.paint)
        else:
            pruned = replace(pruned, paint=self.paint)
        return {"method": pruned.method, "against": against, "paint": pruned.paint, "recipe": pruned.recipe}

    def link(self, examples: Sequence[Example]) -> str:
        """What an address must ask for to show it again, see `link_to`."""
        is_own = bool(self.paint or self.sides.own)
        return link_to(examples, self.seed, self.question, self.percent, self.sides, is_own=is_own)


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
