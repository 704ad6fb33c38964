from __future__ import annotations

import itertools

import numpy as np
import pytest

from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.recipes.budget import (
    EARLY,
    MOST_EARLY,
    TOLERANCE,
    gathered,
    largest_reduction,
    largest_remainder,
    round_to_budget,
    saved_share,
    trim_to_budget,
)

GEOMETRY = DecoderGeometry(12, 160, 448, 160, 160, 1000)
TOKENS = 256


def random_recipes(count: int, seed: int = 0) -> np.ndarray:
    """(count, 12) whole removals, most of them early, none of more than 256 tokens."""
    random = np.random.default_rng(seed)
    weights = random.gamma(0.5, size=(count, 12)) * np.linspace(1, 0.1, 12)
    parts = weights / weights.sum(axis=1, keepdims=True) * random.uniform(0, TOKENS, (count, 1))
    return np.floor(parts).astype(int)


def test_shares_are_those_of_the_exact_arithmetic():
    recipes = random_recipes(50)
    exact = [visual_reduction(GEOMETRY, recipe, TOKENS) for recipe in recipes]
    assert saved_share(GEOMETRY, recipes, TOKENS) == pytest.approx(exact, abs=1e-12)
    grouped = DecoderGeometry(12, 160, 448, 192, 64, 1000)
    assert saved_share(grouped, recipes[0], TOKENS) == pytest.approx(visual_reduction(grouped, recipes[0], TOKENS))


@pytest.mark.parametrize(
    ("wanted", "counts"),
    [
        ([1.2, 2.7, 0.1], [1, 3, 0]),
        ([0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0]),
        ([0.4, 0.4, 0.4], [1, 0, 0]),
        ([3.0, 0.0], [3, 0]),
        ([0.1, 0.1], [0, 0]),
    ],
)
def test_largest_remainder(wanted, counts):
    assert largest_remainder(wanted).tolist() == counts


def test_trimming_stops_where_the_budget_is_met():
    removed = np.array([20, 30, 40, 0, 50, 10, 0, 0, 30, 0, 0, 0.0])
    for reduction in (0.05, 0.2, 0.4, 0.5):
        trimmed = trim_to_budget(GEOMETRY, removed, TOKENS, reduction)
        assert saved_share(GEOMETRY, trimmed, TOKENS) == pytest.approx(reduction, abs=1e-9)
        last = int(np.flatnonzero(trimmed)[-1])
        assert trimmed[:last].tolist() == removed[:last].tolist()
        assert 0 < trimmed[last] <= removed[last]


def test_rounding_meets_the_budget_and_stays_near():
    random = np.random.default_rng(1)
    for recipe in random_recipes(40, seed=2):
        wanted = recipe * random.uniform(0.8, 1.0)
        reduction = float(saved_share(GEOMETRY, wanted, TOKENS))
        counts = round_to_budget(GEOMETRY, wanted, TOKENS, reduction)
        assert abs(visual_reduction(GEOMETRY, counts, TOKENS) - reduction) <= TOLERANCE
        assert np.abs(np.array(counts) - wanted).max() < 3


def test_whole_counts_that_meet_the_budget_stay_as_they_are():
    for recipe in random_recipes(20, seed=3):
        reduction = visual_reduction(GEOMETRY, recipe, TOKENS)
        assert round_to_budget(GEOMETRY, recipe, TOKENS, reduction) == tuple(recipe)


def test_no_recipe_saves_more_than_dropping_everything_at_the_first_layer():
    most = largest_reduction(GEOMETRY, TOKENS)
    assert most == pytest.approx(visual_reduction(GEOMETRY, [TOKENS] + [0] * 11, TOKENS))
    assert most > max(saved_share(GEOMETRY, random_recipes(200, seed=4), TOKENS))


class TestGathered:
    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ([9.0, 0.5, 1.0, 4.0, 0.0], [9, 0, 0, 5.5, 0]),
            ([0.0, 1.0, 0.0, 1.0, 0.0], [0, 0, 0, 2, 0]),
            # One layer early counts two, less than a drop of its own; two layers early counts four.
            ([5.0, 1.0, 0.0, 0.0, 0.0], [6, 0, 0, 0, 0]),
            ([5.0, 0.0, 1.0, 0.0, 0.0], [5, 0, 1, 0, 0]),
            ([0.0, 0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0, 0]),
        ],
    )
    def test_little_goes_with_another_layers(self, wanted, expected):
        assert gathered(wanted, 3.0, TOKENS).tolist() == expected

    def test_a_drop_that_costs_nothing_waits_for_none(self):
        wanted = np.random.default_rng(0).exponential(2.0, 12)
        assert gathered(wanted, 0.0, TOKENS) == pytest.approx(wanted)

    def test_of_few_that_are_left_most_keep_their_time(self):
        wanted = [200.0, 0.0, 40.0, 0.0, 12.0]
        assert gathered(wanted, 300.0, 1000).tolist() == [252, 0, 0, 0, 0]
        # Layer 3 leaves 16 of 256 tokens; 12 of them are more than a third.
        assert gathered(wanted, 300.0, 256).tolist() == [200, 0, 0, 0, 52]

    def test_no_choice_of_layers_displaces_less(self):
        """Against every set of layers, written out."""
        rng, apart = np.random.default_rng(0), 0
        for _ in range(60):
            wanted, cost = rng.exponential(2.0, 7) * (rng.random(7) < 0.7), rng.uniform(0.1, 12)
            tokens = wanted.sum() + rng.choice([0.5, 4.0, 1000.0])
            found = gathered(wanted, cost, tokens)
            assert found.sum() == pytest.approx(wanted.sum())
            assert set(np.flatnonzero(found)) <= set(np.flatnonzero(wanted))
            counted = {}
            for size in range(1, 8):
                for dropping in itertools.combinations(np.flatnonzero(wanted), size):
                    count, drops = cost * size, np.zeros(7)
                    for layer, leaving in enumerate(wanted):
                        at = next((each for each in dropping if each >= layer), dropping[-1])
                        count += leaving * ((at - layer) if at >= layer else EARLY * (layer - at))
                        drops[at] += leaving
                    before_time = wanted[dropping[-1] + 1 :].sum()
                    if before_time <= MOST_EARLY * (tokens - wanted[: dropping[-1] + 1].sum()):
                        counted[count] = drops
            if counted:
                assert found == pytest.approx(counted[min(counted)])
                apart += 0 < np.count_nonzero(found) < np.count_nonzero(wanted)
        assert apart > 30
