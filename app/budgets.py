"""What a budget is on the pages and in the API: a percentage of the visual FLOPs to save."""

from __future__ import annotations

from typing import Any

from fitprune_core.checks.words import shown

# Beyond it a recipe keeps next to nothing, and the shipped ones end.
LARGEST_PERCENT = 90


def check_percent(value: Any) -> float:
    """Return a budget in percent as a number, or raise ValueError: 0 or from 1 to 90, neither NaN nor a text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= LARGEST_PERCENT:
        raise ValueError(
            f"The budget is the percentage of visual FLOPs to save, a number from 0 to {LARGEST_PERCENT}, not "
            f"{shown(value)}."
        )
    if 0 < value < 1:
        # A script that means the share, as the library and the command line do, would get nearly unpruned answers.
        raise ValueError(f"The budget is a percentage: {value:g} % would be nearly nothing; 60 % is written 60.")
    return value
