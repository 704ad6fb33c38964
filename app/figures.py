"""Numbers as people read them: a figure with its unit, and what two figures are to each other."""

from __future__ import annotations

from dataclasses import dataclass

_DECIMAL = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
BLANK = "–"

# Two times closer than this are called the same: below it, repeats of one run differ as much.
SAME_TIME = 0.03


def flops(gflops: float) -> str:
    """1e9 floating-point operations, as "1.51 G" or "3.82 T"."""
    return _scaled(gflops * 1e9)


def size(num_bytes: int) -> str:
    """Bytes, in powers of 1000: "1.97 MB"."""
    return _scaled(num_bytes) + "B"


def milliseconds(value: float | None) -> str:
    """ "24.1 ms", "812 ms" or "3.42 s"; a dash where there is none (an answer of one token has no time per token)."""
    if value is None:
        return BLANK
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


def speed(original: float | None, pruned: float | None) -> Ratio:
    """How many times faster; times that are within `SAME_TIME` of each other count as the same."""
    if not original or not pruned:
        return Ratio(BLANK, "")
    ratio = original / pruned
    if abs(ratio - 1) <= SAME_TIME:
        return Ratio("1.0×", "no gain")
    if ratio > 1:
        return Ratio(_times(ratio), "faster")
    return Ratio(_times(1 / ratio), "slower")


def speed_of_other_length(original: float | None, pruned: float | None) -> Ratio:
    """The times of whole answers that differ in length: their ratio would be one of lengths, so there is none."""
    return Ratio(BLANK, "other length")


def difference(original: int, pruned: int) -> Ratio:
    """How many more or fewer."""
    if original == pruned:
        return Ratio("same", "")
    return Ratio(f"{'+' if pruned > original else '−'}{abs(pruned - original)}", "")


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.2f}×" if ratio < 1.1 else f"{ratio:.1f}×"


def _scaled(value: float) -> str:
    for factor, prefix in _DECIMAL:
        if value >= factor:
            return f"{_three_digits(value / factor)} {prefix}"
    return f"{value:.0f} "


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
