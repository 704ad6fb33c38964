"""Intervals and paired tests, against their definitions written out."""

from __future__ import annotations

import math
import random

import pytest
from scipy.stats import ttest_rel

from fitprune_core.evaluation.significance import CONFIDENCE, holm, mcnemar, share_of


@pytest.mark.parametrize(("right", "asked"), [(0, 5), (5, 5), (971, 1000), (1, 3), (60, 240)])
def test_the_interval_is_wilsons(right, asked):
    """Its ends are the shares p at which `right` lies 1.96 standard errors of p away."""
    share, z = share_of(right, asked), 1.959963984540054
    assert share.value == right / asked and 0 <= share.low <= share.value <= share.high <= 1
    for end in (share.low, share.high):
        if 0 < end < 1 and end != share.value:
            assert abs(share.value - end) / math.sqrt(end * (1 - end) / asked) == pytest.approx(z, rel=1e-6)


def test_of_nothing_there_is_no_share():
    assert share_of(0, 0) is None


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (3, 3), (61, 19), (2, 9)])
def test_mcnemar_counts_the_coins(lost, won):
    """Each question that one way alone got right is a fair coin: how often is it at least as lopsided?"""
    count, least = lost + won, min(lost, won)
    tail = sum(math.comb(count, heads) for heads in range(least + 1)) / 2**count
    assert mcnemar(lost, won).p == pytest.approx(min(1.0, 2 * tail))
    assert (mcnemar(lost, won).lost, mcnemar(lost, won).won) == (lost, won)


@pytest.mark.parametrize(("lost", "won", "asked"), [(7, 1, 250), (0, 0, 10), (12, 30, 60)])
def test_the_interval_of_a_difference_is_that_of_the_pairs(lost, won, asked):
    pairs = [(1, 0)] * lost + [(0, 1)] * won + [(1, 1)] * (asked - lost - won)
    first, second = zip(*pairs, strict=True)
    value, low, high = mcnemar(lost, won, asked).difference()
    assert value == pytest.approx((won - lost) / asked)
    if lost + won:
        interval = ttest_rel(second, first).confidence_interval(CONFIDENCE)
        assert (low, high) == pytest.approx((interval.low, interval.high))
    assert mcnemar(lost, won).difference() is None


def test_a_difference_within_chance_is_called_none():
    assert mcnemar(5, 4).in_words == "lost 5, won 4, McNemar p = 1.00, no difference beyond chance"
    assert mcnemar(61, 19).in_words == "lost 61, won 19, McNemar p < 0.001"


@pytest.mark.parametrize("seed", range(6))
def test_holm_rejects_step_by_step(seed):
    """At every level those are found up to the first step that fails: the k-th smallest of m by level / (m - k)."""
    rng = random.Random(seed)
    values = [rng.random() ** 3 for _ in range(7)] + [0.0, 0.02, 0.02]
    adjusted = holm(values)
    for level in (0.001, 0.01, 0.05, 0.2, 0.7):
        waiting, found = sorted(values), 0
        while found < len(values) and waiting[found] * (len(values) - found) <= level:
            found += 1
        assert sum(p <= level for p in adjusted) == found
        assert all((p <= level) == (value in waiting[:found]) for value, p in zip(values, adjusted, strict=True))


def test_of_one_test_holm_changes_nothing_and_no_p_is_made_smaller():
    assert holm([0.03]) == [0.03] and holm([]) == []
    assert holm([0.01, 0.04]) == [0.02, 0.04] and holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="not 1.5"):
        holm([0.5, 1.5])
