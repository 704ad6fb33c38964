"""How numbers are written, and compared."""

from __future__ import annotations

import pytest

from app import figures


@pytest.mark.parametrize(
    ("gflops", "text"), [(1.514, "1.51 G"), (0.6044, "604 M"), (3820.0, "3.82 T"), (0.0, "0 "), (24.96, "25.0 G")]
)
def test_flops(gflops, text):
    assert figures.flops(gflops) == text


def test_size_counts_in_thousands():
    assert figures.size(1_966_080) == "1.97 MB"


@pytest.mark.parametrize(
    ("value", "text"), [(6.123, "6.12 ms"), (24.14, "24.1 ms"), (812.4, "812 ms"), (3420.0, "3.42 s"), (None, "–")]
)
def test_milliseconds(value, text):
    assert figures.milliseconds(value) == text


@pytest.mark.parametrize(
    ("original", "pruned", "text"), [(2.0, 0.8, "−60.0 %"), (2.0, 2.0, "0 %"), (2.0, 2.1, "+5.0 %"), (0.0, 0.0, "–")]
)
def test_saving(original, pruned, text):
    assert figures.saving(original, pruned).text == text


@pytest.mark.parametrize(
    ("original", "pruned", "expected"),
    [
        (24.0, 15.0, ("1.6×", "faster")),
        (15.0, 24.0, ("1.6×", "slower")),
        (10.0, 10.2, ("1.0×", "no gain")),
        (10.5, 10.0, ("1.05×", "faster")),
        (None, 10.0, ("–", "")),
    ],
)
def test_speed_says_which_way(original, pruned, expected):
    ratio = figures.speed(original, pruned)
    assert (ratio.text, ratio.word) == expected
