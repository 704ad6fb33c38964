"""Intervals and paired tests, against their definitions written out."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from scipy.stats import t

from fitprune_core.evaluation.significance import (
    CONFIDENCE,
    SIGNIFICANT,
    holm,
    mcnemar,
    paired,
    share_by_picture,
    share_of,
)


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


@pytest.mark.parametrize("copies", [2, 5])
def test_questions_asked_twice_about_a_picture_are_worth_one(copies):
    """Copies of the same answers tell nothing new: the interval is nearly that of the pictures."""
    marks = [True] * 30 + [False] * 10
    share = share_by_picture(
        [mark for mark in marks for _ in range(copies)], [at for at in range(40) for _ in range(copies)]
    )
    alone = share_of(30, 40)
    assert (share.right, share.asked, share.value) == (30 * copies, 40 * copies, alone.value)
    assert share.low == pytest.approx(alone.low, abs=0.005) and share.high == pytest.approx(alone.high, abs=0.005)
    assert share_by_picture(marks, range(40)) == alone
    certain = share_by_picture([True] * 40 * copies, [at for at in range(40) for _ in range(copies)])
    assert certain.low == pytest.approx(share_of(40, 40).low) and certain.high == 1


def test_answers_that_differ_within_a_picture_are_not_worth_more():
    assert share_by_picture([True, False] * 20, [at // 2 for at in range(40)]) == share_of(20, 40)
    assert share_by_picture([], []) is None and share_by_picture([True, False], ["a", "a"]) == share_of(1, 2)


@pytest.mark.parametrize("seed", range(4))
def test_a_pair_by_picture_flips_the_signs_of_pictures(seed):
    """Against every choice of signs, written out."""
    rng = random.Random(seed)
    pictures = [rng.randrange(9) for _ in range(40)]
    first, second = ([rng.random() < share for _ in pictures] for share in (0.5, 0.8))
    net = [
        sum(b - a for a, b, of in zip(first, second, pictures, strict=True) if of == at) for at in sorted({*pictures})
    ]
    flips = [
        sum(s * n for s, n in zip(signs, net, strict=True)) for signs in itertools.product((1, -1), repeat=len(net))
    ]
    pair = paired(first, second, pictures)
    assert pair.p == pytest.approx(sum(abs(each) >= abs(sum(net)) for each in flips) / len(flips))
    assert (pair.asked, pair.pictures, pair.won - pair.lost) == (40, len(net), sum(net))
    value, low, high = pair.difference()
    assert value == pytest.approx(sum(net) / 40) and low < value < high
    assert pair.apart == sum(map(bool, net)) and ("by picture" in pair.in_words) == pair.can_tell == (pair.apart > 5)


def test_a_pair_of_questions_with_pictures_of_their_own_is_mcnemars():
    first, second = [True] * 7 + [False] * 30 + [True] * 20, [False] * 7 + [True] * 30 + [True] * 20
    assert paired(first, second, range(57)) == mcnemar(7, 30, 57)
    twice = paired(first * 2, second * 2, [*range(57)] * 2)
    assert twice.p == pytest.approx(mcnemar(7, 30).p)
    assert twice.difference() == pytest.approx(mcnemar(7, 30, 57).difference())


def test_thousands_of_pictures_are_no_trouble():
    net = [True] * 2_000 + [False] * 1_000
    found = paired([not each for each in net] * 2, net * 2, [*range(3_000)] * 2)
    assert found.p == pytest.approx(mcnemar(1_000, 2_000).p, abs=1e-12) and 0 <= found.p < 1e-9


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (3, 3), (61, 19), (2, 9)])
def test_mcnemar_counts_the_coins(lost, won):
    """Each question that one way alone got right is a fair coin: how often is it at least as lopsided?"""
    count, least = lost + won, min(lost, won)
    tail = sum(math.comb(count, heads) for heads in range(least + 1)) / 2**count
    assert mcnemar(lost, won).p == pytest.approx(min(1.0, 2 * tail))
    assert (mcnemar(lost, won).lost, mcnemar(lost, won).won) == (lost, won)


@pytest.mark.parametrize(("lost", "won", "asked"), [(7, 1, 250), (0, 0, 10), (12, 30, 60)])
def test_the_interval_of_a_difference_is_that_of_the_pairs(lost, won, asked):
    """A paired t interval with half a question more of each outcome, about the difference itself."""
    half = [(1, 0)] * (2 * lost + 1) + [(0, 1)] * (2 * won + 1)
    half += [(1, 1)] * (2 * (asked - lost - won) + 2)
    first, second = np.array(half).T
    value, low, high = mcnemar(lost, won, asked).difference()
    assert value == pytest.approx((won - lost) / asked) and low + high == pytest.approx(2 * value)
    # Half questions twice: their variance is that of the whole ones, but for what a sample's has too little of.
    spread = float(np.var(second - first)) / (asked + 1)
    assert (high - low) / 2 == pytest.approx(float(t.ppf(0.5 + CONFIDENCE / 2, asked - 1)) * math.sqrt(spread))
    assert low < value < high and mcnemar(lost, won).difference() is None


def test_a_difference_within_chance_is_called_none():
    assert mcnemar(5, 4).in_words == "lost 5, won 4, McNemar p = 1.00, no difference beyond chance"
    assert mcnemar(61, 19).in_words == "lost 61, won 19, McNemar p < 0.001"


@pytest.mark.parametrize("differing", range(9))
def test_where_a_test_could_find_nothing_it_is_not_said_that_there_is_nothing(differing):
    """Also where all that differs is for one side; then, too, for each question asked twice about one picture."""
    pair = mcnemar(differing, 0)
    assert pair.can_tell == (pair.p <= SIGNIFICANT) and mcnemar(1, differing).can_tell == (differing > 4)
    assert ("no difference" in pair.in_words) is False
    if not pair.can_tell:
        assert pair.in_words == f"lost {differing}, won 0, too few differ to tell ({differing}; 6 are needed)"
    twice = paired([True] * 20, ([False] * differing + [True] * (10 - differing)) * 2, [*range(10)] * 2)
    assert twice.can_tell == (twice.p <= SIGNIFICANT) and twice.lost == 2 * differing
    if not twice.can_tell:
        few = f"too few pictures differ to tell ({differing}; 6 are needed)"
        assert twice.in_words == f"lost {2 * differing}, won 0, {few}"


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
