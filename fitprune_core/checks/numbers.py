"""Whole numbers that a user gives."""

from __future__ import annotations

import operator
from typing import Any

from fitprune_core.checks.words import shown


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number of an integer type: Python's or numpy's, but neither a bool nor 3.0."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def whole(name: str, value: Any, smallest: int, largest: int | None = None) -> int:
    """A whole number as Python's, from `smallest` up or to `largest`. Raises ValueError, by its name, for others."""
    if not is_integer(value) or value < smallest or (largest is not None and value > largest):
        limits = f"from {smallest} up" if largest is None else f"from {smallest} to {largest}"
        raise ValueError(f"{name} must be a whole number {limits}, not {shown(value)}")
    return operator.index(value)
