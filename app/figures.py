"""Numbers as people read them: counts and budgets, and what two figures are to each other."""

from __future__ import annotations

from dataclasses import dataclass

from fitprune_core.checks.units import BLANK, milliseconds
from fitprune_core.run.timing import Paired

UNSTEADY = "unsteady: run again"


def count(number: int) -> str:
    """Tokens and the like: "1,838"."""
    return f"{number:,}"


def percent(share: float) -> float:
    """A budget as the pages have it: 0.6 is 60, 0.333 is 33.3."""
    return round(100 * share, 2)


@dataclass(frozen=True)
class Ratio:
    """What the pruned figure is to the original one: `text` ("−60.1 %", "1.6×"), and a word for it ("faster") or ""."""

    text: str
    word: str


def saving(original: float, pruned: float) -> Ratio:
    """By how many percent something became less."""
    if not original:
        return Ratio(BLANK, "")
    percent = round(100 * (pruned / original - 1), 1)
    if percent == 0:
        return Ratio("0 %", "")
    return Ratio(f"{'−' if percent < 0 else '+'}{abs(percent):.1f} %", "")


def speed(paired: Paired | None, original: float | None, pruned: float | None) -> Ratio:
    """How many times faster, with the interval of it; a dash where the two cannot be told apart.

    original, pruned: the medians that stand beside it.
    """
    if paired is None:
        return Ratio(BLANK, "")
    if paired.verdict in ("same", "unknown"):
        return Ratio(BLANK, paired.words())
    if not agrees(paired, original, pruned):
        return Ratio(BLANK, UNSTEADY)
    ratio, low, high = paired.times()
    return Ratio(f"{ratio}×", f"{paired.verdict} ({low} to {high})")


def agrees(paired: Paired, original: float | None, pruned: float | None) -> bool:
    """Whether two medians are to each other what the pairs of a round are: their ratio lies in the interval of these.

    Where something else took the processor for a while, it does not: whoever divides the one by the other would find
    another ratio than the one that is told.
    """
    if paired.interval is None or not original or not pruned:
        return True
    low, high = paired.interval
    return low <= original / pruned <= high


def difference(original: int, pruned: int) -> Ratio:
    """How many more or fewer."""
    if original == pruned:
        return Ratio("same", "")
    return Ratio(f"{'+' if pruned > original else '−'}{count(abs(pruned - original))}", "")


def spread(ends: tuple[float, float]) -> str:
    """The least and the most of several times: "14.2 ms to 38.0 ms"."""
    return " to ".join(map(milliseconds, ends))
