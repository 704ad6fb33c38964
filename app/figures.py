"""Numbers as people read them: a figure with its unit, and what two figures are to each other."""

from __future__ import annotations

from dataclasses import dataclass

from fitprune_core.run.timing import Paired

_DECIMAL = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
BLANK = "–"
UNSTEADY = "unsteady: run again"


def flops(gflops: float) -> str:
    """1e9 floating-point operations, as "1.51 G" or "3.82 T"."""
    return _scaled(gflops * 1e9)


def size(num_bytes: int) -> str:
    """Bytes, in powers of 1000: "1.97 MB"."""
    return _scaled(num_bytes) + "B"


def count(number: int) -> str:
    """Tokens and the like: "1,838"."""
    return f"{number:,}"


def percent(share: float) -> float:
    """A budget as the pages have it: 0.6 is 60, 0.333 is 33.3."""
    return round(100 * share, 2)


def milliseconds(value: float | None) -> str:
    """ "24.1 ms", "812 ms" or "3.42 s"; a dash where there is none (an answer of one token has no time per token)."""
    if value is None:
        return BLANK
    value = float(f"{value:.3g}")
    if value >= 1000:
        return f"{_three_digits(value / 1000)} s"
    return f"{_three_digits(value)} ms"


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


def _scaled(value: float) -> str:
    value = float(f"{value:.3g}")  # before its factor is chosen: 999.9 G is 1.00 T
    for factor, prefix in _DECIMAL:
        if value >= factor:
            return f"{_three_digits(value / factor)} {prefix}"
    return f"{value:.0f} "


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
