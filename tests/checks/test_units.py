"""How figures are written with their units."""

from __future__ import annotations

import pytest

from fitprune_core.checks.units import flops, milliseconds, size


@pytest.mark.parametrize(
    ("gflops", "text"),
    [
        (1.514, "1.51 G"),
        (0.6044, "604 M"),
        (3820.0, "3.82 T"),
        (41_234.5, "41.2 T"),
        (0.0, "0 "),
        (24.96, "25.0 G"),
        (999.9, "1.00 T"),
        (999.4, "999 G"),
    ],
)
def test_flops(gflops, text):
    assert flops(gflops) == text


def test_size_counts_in_thousands():
    assert (size(1_966_080), size(15.2e9)) == ("1.97 MB", "15.2 GB")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (6.123, "6.12 ms"),
        (24.14, "24.1 ms"),
        (812.4, "812 ms"),
        (3420.0, "3.42 s"),
        (999.8, "1.00 s"),
        (99.97, "100 ms"),
        (None, "–"),
    ],
)
def test_milliseconds(value, text):
    assert milliseconds(value) == text
