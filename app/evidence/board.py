"""All answers of a section, and the questions that one asks of them: how many are right, or the same, who wins."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from fitprune_core.evaluation.outcomes import Given, Outcomes, Side, Summary, against, is_same, read_results, summaries
from fitprune_core.evaluation.significance import McNemar, Share, holm
from fitprune_core.run.results import ORIGINAL

Key = TypeVar("Key", bound=Hashable)
# The name of a variant and its budget; the original has the budget 0.
Way = tuple[str, float]
THE_ORIGINAL: Way = (ORIGINAL, 0.0)


class Board:
    """The answers of a table of raw rows.

    Attributes:
        path: the table.
        ways: who answered, the original first; a way that answered nothing is not among them.
        kinds: of the questions, as they come; empty where the questions have none.
        count: how many questions there are.
        refused: what could not answer, "NAME at BUDGET", and why.
    """

    def __init__(self, path: Path, refused: Mapping[str, str] | None = None) -> None:
        self.path, self.refused = path, dict(refused or {})
        self._outcomes: Outcomes = read_results(path)
        self._sides: dict[Way, Side] = {(side.method, side.reduction or 0.0): side for side in self._outcomes.sides}
        self._pictures = self._outcomes.pictures
        self._sums: dict[str, dict[Way, Summary]] = {}
        self.ways = list(self._sides)
        self.kinds = list(dict.fromkeys(asked.kind for asked in self._outcomes.questions if asked.kind))
        self.count = len(self._outcomes.questions)

    @property
    def budgets(self) -> list[float]:
        """Of all ways but the original, the smallest first."""
        return sorted({reduction for _, reduction in self.ways[1:]})

    def right(self, way: Way, kind: str = "") -> Share | None:
        """The share of right answers, among questions of a kind or all; None for a way that did not answer."""
        return summary.right if (summary := self._summary(way, kind)) else None

    def same(self, way: Way) -> Share | None:
        """The share of answers that are the original's."""
        return summary.same if (summary := self._summary(way)) else None

    def gflops(self, way: Way) -> float | None:
        """Mean visual FLOPs of an answer, 1e9."""
        return summary.visual_gflops if (summary := self._summary(way)) else None

    def total_gflops(self, way: Way) -> float | None:
        """Mean FLOPs of a whole request, 1e9: vision tower, text, scoring and decoding as well."""
        if way not in self._sides:
            return None
        found = [given.total_gflops for given in self._sides[way].answers if given and given.total_gflops is not None]
        return fmean(found) if found else None

    def saved(self, way: Way) -> float:
        """The share of visual FLOPs that a way really saved, all answers together, counted."""
        mine, full = self.gflops(way), self.gflops(THE_ORIGINAL)
        return 1 - mine / full if mine is not None and full else 0.0

    def spread(self) -> float:
        """The largest distance, over the budgets, between what two ways save that were asked to save the same."""
        saved: dict[float, list[float]] = {}
        for way in self.ways[1:]:
            saved.setdefault(way[1], []).append(self.saved(way))
        return max((max(values) - min(values) for values in saved.values()), default=0.0)

    def against(self, way: Way, other: Way, kind: str = "") -> McNemar | None:
        """McNemar's test of two ways, over questions of a kind or all; None where one did not answer."""
        if way not in self._sides or other not in self._sides:
            return None
        return against(self._sides[way], self._sides[other], self._pictures, self._among(kind))

    def marks(self, way: Way) -> dict[str, bool]:
        """By the id of a question: whether this way is right; questions that it answered and whose answer is known."""
        if way not in self._sides:
            return {}
        pairs = zip(self._outcomes.questions, self._sides[way].answers, strict=True)
        return {asked.id: given.right for asked, given in pairs if given is not None and given.right is not None}

    def flips(self, way: Way) -> dict[str, bool]:
        """By the id of a question: whether this way answers otherwise than the original; questions both answered."""
        original, side = self._sides[THE_ORIGINAL], self._sides[way]
        return {
            asked.id: not is_same(mine, first)
            for asked, mine, first in zip(self._outcomes.questions, side.answers, original.answers, strict=True)
            if mine is not None and first is not None
        }

    def margins(self, way: Way) -> dict[str, float]:
        """By the id of a question: how much likelier the answer's least sure token was than the next likeliest."""
        pairs = zip(self._outcomes.questions, self._sides[way].answers, strict=True)
        return {asked.id: given.margin for asked, given in pairs if given is not None and given.margin is not None}

    def ask_again(self, way: Way, below: float, name: Way) -> None:
        """Add the way `name`: the answers of `way`, and where their margin is below a number, the original's.

        Those cost the FLOPs of both.
        """
        answers = zip(self._sides[way].answers, self._sides[THE_ORIGINAL].answers, strict=True)
        self._sides[name] = Side(*name, tuple(_asked_again(mine, first, below) for mine, first in answers))
        self._outcomes = replace(self._outcomes, sides=tuple(self._sides.values()))
        self._sums.clear()
        self.ways.append(name)

    def kind_of(self) -> dict[str, str]:
        """By the id of a question: its kind."""
        return {asked.id: asked.kind for asked in self._outcomes.questions}

    def best(self, ways: Iterable[Way]) -> list[Way]:
        """Ways by the share of right answers, the largest first; of equals the first stays first."""
        known = [(way, share.value) for way in ways if (share := self.right(way)) is not None]
        return [way for way, _ in sorted(known, key=lambda pair: -pair[1])]

    def _summary(self, way: Way, kind: str = "") -> Summary | None:
        if kind not in self._sums:
            self._sums[kind] = dict(zip(self._sides, summaries(self._outcomes, self._among(kind)), strict=True))
        return self._sums[kind].get(way)

    def _among(self, kind: str) -> list[int] | None:
        if not kind:
            return None
        return [index for index, asked in enumerate(self._outcomes.questions) if asked.kind == kind]


def _asked_again(mine: Given | None, original: Given | None, below: float) -> Given | None:
    if mine is None or original is None or mine.margin is None:
        return None
    if mine.margin >= below:
        return mine
    return replace(
        original,
        visual_gflops=(mine.visual_gflops or 0.0) + (original.visual_gflops or 0.0),
        total_gflops=(mine.total_gflops or 0.0) + (original.total_gflops or 0.0),
    )


def corrected(pairs: Mapping[Key, McNemar | None]) -> dict[Key, float | None]:
    """The p-values of a family of tests, corrected together (Holm); None stays what is no test."""
    tested = {key: pair.p for key, pair in pairs.items() if pair is not None}
    found = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {key: found.get(key) for key in pairs}
