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
    ratio = figures.speed(paired, None, None)
    assert (ratio.text, ratio.word) == expected
    if paired and paired.verdict in ("faster", "slower"):
        assert paired.words() == f"{ratio.text[:-1]} times {ratio.word}"


@pytest.mark.parametrize(
    ("medians", "text"),
    [((24.0, 15.0), "1.6×"), ((149.0, 48.8), "–"), ((15.0, 24.0), "–"), ((24.0, None), "1.6×")],
)
def test_a_ratio_that_the_times_beside_it_contradict_is_not_told(medians, text):
    ratio = figures.speed(make_paired(24.0, 15.0), *medians)
    assert ratio.text == text and (ratio.word == figures.UNSTEADY) == (text == "–")


def test_where_no_difference_was_found_medians_change_nothing():
    assert figures.speed(make_paired(10.5, 10.0), 149.0, 48.8).word == "no measurable difference"
