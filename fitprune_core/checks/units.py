"""Figures with their units, in three digits: what something costs, takes or lasts."""

from __future__ import annotations

_DECIMAL = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
BLANK = "–"  # where there is no figure


def flops(gflops: float) -> str:
    """1e9 floating-point operations, as "1.51 G" or "3.82 T"."""
    return _scaled(gflops * 1e9)


def size(num_bytes: float) -> str:
    """Bytes, in powers of 1000: "1.97 MB"."""
    return _scaled(num_bytes) + "B"


def milliseconds(value: float | None) -> str:
    """ "24.1 ms", "812 ms" or "3.42 s"; a dash where there is none (an answer of one token has no time per token)."""
    if value is None:
        return BLANK
    value = float(f"{value:.3g}")
    if value >= 1000:
        return f"{_three_digits(value / 1000)} s"
    return f"{_three_digits(value)} ms"


def _scaled(value: float) -> str:
    value = float(f"{value:.3g}")  # before its factor is chosen: 999.9 G is 1.00 T
    for factor, prefix in _DECIMAL:
        if value >= factor:
            return f"{_three_digits(value / factor)} {prefix}"
    return f"{value:.0f} "


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
