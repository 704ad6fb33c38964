"""Which values of a parameter are tested by `make test` alone."""

from __future__ import annotations

import pytest


def slow(*values) -> list:
    """Values for `parametrize` whose tests `make test-fast` leaves out, because there are quicker ones beside them."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
