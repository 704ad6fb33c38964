"""How numbers are written, and compared."""

from __future__ import annotations

import pytest

from app import figures
from tests.app.fake_engine import make_paired


@pytest.mark.parametrize(
    ("original", "pruned", "text"), [(2.0, 0.8, "−60.0 %"), (2.0, 2.0, "0 %"), (2.0, 2.1, "+5.0 %"), (0.0, 0.0, "–")]
)
def test_saving(original, pruned, text):
    assert figures.saving(original, pruned).text == text


@pytest.mark.parametrize(
    ("paired", "expected"),
    [
        (make_paired(24.0, 15.0), ("1.6×", "faster (1.4 to 1.8)")),
        (make_paired(15.0, 24.0), ("1.6×", "slower (1.5 to 1.8)")),
        (make_paired(10.5, 10.0), ("–", "no measurable difference")),
        (make_paired(10.5, 10.0, spread=0.01), ("1.05×", "faster (1.04 to 1.06)")),
        (make_paired(24.0, 15.0, rounds=5), ("–", "5 runs: too few to compare")),
        (None, ("–", "")),
    ],
)
def test_speed_says_which_way_or_that_nothing_can_be_said(paired, expected):
    ratio = figures.speed(paired)
    assert (ratio.text, ratio.word) == expected
    if paired and paired.verdict in ("faster", "slower"):
        assert paired.words() == f"{ratio.text[:-1]} times {ratio.word}"
