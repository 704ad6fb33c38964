"""What the sections reckon with, against definitions written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from app.evidence.numbers import (
    Estimate,
    auc,
    auc_within,
    even_recipe,
    is_nested,
    mean_of,
    mean_share,
    partial_spearman,
    recipe_distance,
    single_layer_recipe,
    spearman,
    stability,
)
from fitprune_core import DecoderGeometry, PruningRecipe, fit_recipe, visual_reduction
from fitprune_core.recipes.statistics import AttentionStatistics
from tests.fit_statistics import peaked_statistics

Z = 1.959963984540054


def recipe(*removed: int, tokens: int = 100) -> PruningRecipe:
    return PruningRecipe("m", len(removed), tokens, 0.5, 0.5, removed)


class TestAuc:
    @pytest.mark.parametrize("seed", range(4))
    def test_it_counts_pairs_and_ties_count_half(self, seed):
        rng = np.random.default_rng(seed)
        positive, negative = rng.integers(2, 8, 13).tolist(), rng.integers(0, 7, 29).tolist()
        pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(positive, negative)]
        assert auc(positive, negative).value == pytest.approx(sum(pairs) / len(pairs))
        assert auc(negative, positive).value == pytest.approx(1 - sum(pairs) / len(pairs))

    @pytest.mark.parametrize(("positive", "negative"), [([3, 5, 1, 4], [2, 1, 3, 0, 2]), ([1] * 30, [0, 1, 2] * 20)])
    def test_its_interval_ends_where_the_estimate_is_a_normal_deviate_away(self, positive, negative):
        found, m, n = auc(positive, negative), len(positive), len(negative)
        for end in (found.low, found.high):
            by_hanley = (1 - end) / (2 - end) + end / (1 + end)
            variance = end * (1 - end) * (1 + ((m + n) / 2 - 1) * by_hanley) / (m * n)
            assert abs(end - found.value) == pytest.approx(Z * math.sqrt(variance), rel=1e-6)
        assert 0 < found.low < found.value < found.high < 1

    def test_what_always_tells_is_not_beyond_doubt(self):
        found = auc([3, 4, 5], [1, 2])
        assert (found.value, found.high) == (1.0, 1.0) and 0.2 < found.low < 0.8
        assert (auc([1], [2, 3]).low, auc([1], [2, 3]).value) == (0.0, 0.0)

    @pytest.mark.slow
    def test_the_interval_holds_the_truth_about_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        truth = 0.5 * (1 + math.erf(1.0 / 2))  # one standard deviation apart: Phi(1 / sqrt 2)
        samples = [auc(rng.normal(1.0, 1, 25).tolist(), rng.normal(0, 1, 40).tolist()) for _ in range(300)]
        assert 0.9 <= np.mean([each.low <= truth <= each.high for each in samples]) <= 0.99

    def test_of_one_group_there_is_none(self):
        assert auc([], [1.0]) is None and auc([1.0], []) is None


class TestSpearman:
    def test_it_is_the_correlation_of_ranks(self):
        one, other = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6], [1.0, 2.0, 3.0, 0.5, 8.0, 2.5]
        ranks = [[sorted(values).index(value) for value in values] for values in (one, other)]
        found = spearman(one, other)
        assert found.value == pytest.approx(np.corrcoef(ranks)[0, 1])
        reach = Z * math.sqrt((1 + found.value**2 / 2) / (len(one) - 3))
        assert math.atanh(found.high) - math.atanh(found.value) == pytest.approx(reach)
        assert math.atanh(found.value) - math.atanh(found.low) == pytest.approx(reach)

    def test_where_it_says_nothing_there_is_none(self):
        assert spearman([1, 2, 3], [1, 2, 3]) is None and spearman([1, 1, 1, 1], [1, 2, 3, 4]) is None
        assert spearman([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]).value == pytest.approx(1.0)


class TestPartialCorrelation:
    def test_it_is_the_correlation_of_what_the_third_leaves_of_both_ranks(self):
        rng = np.random.default_rng(0)
        depth = rng.permutation(12).astype(float)
        one, other = depth + 3 * rng.normal(size=12), depth + 3 * rng.normal(size=12)
        left = []
        for values in (one, other):
            ranks, given = stats.rankdata(values), np.stack([np.ones(12), stats.rankdata(depth)], axis=1)
            left.append(ranks - given @ np.linalg.lstsq(given, ranks, rcond=None)[0])
        expected = np.corrcoef(left)[0, 1]
        found = partial_spearman(one, other, depth)
        assert found.value == pytest.approx(expected) and found.low < found.value < found.high
        slope = expected * np.sqrt(9 / (1 - expected**2))
        assert found.p == pytest.approx(2 * stats.t.sf(abs(slope), 9))

    def test_what_the_third_decides_leaves_nothing_to_correlate(self):
        depth = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        assert partial_spearman(depth, [3.0, 1.0, 2.0, 6.0, 5.0, 4.0], depth) is None
        assert partial_spearman(depth[:4], depth[:4], [1.0, 1.0, 2.0, 2.0]) is None


class TestAucWithin:
    def test_only_pairs_of_one_group_count(self):
        groups = [([3.0, 1.0], [2.0]), ([10.0], [12.0, 10.0]), ([5.0], [])]
        # 3 > 2, 1 < 2; 10 < 12, 10 = 10.
        found = auc_within(groups)
        assert found.value == pytest.approx(1.5 / 4) and 0 <= found.low < found.value < found.high <= 1
        assert auc_within([([1.0], []), ([], [2.0])]) is None

    @pytest.mark.slow
    def test_the_interval_holds_the_truth_about_as_often_as_it_says(self):
        rng, held = np.random.default_rng(1), 0
        for _ in range(300):
            groups = [(rng.normal(1 + shift, 1, 15), rng.normal(shift, 1, 20)) for shift in (0, 5, 9)]
            found = auc_within(groups)
            held += found.low <= stats.norm.cdf(1 / np.sqrt(2)) <= found.high
        assert 0.92 <= held / 300 <= 0.98


def test_the_mean_has_students_interval():
    found = mean_of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.value == 3.0
    assert found.high - 3.0 == pytest.approx(3.0 - found.low) == pytest.approx(2.7764451 * math.sqrt(2.5 / 5))
    assert mean_of([2.0]) == mean_of([2.0, 2.0])
    assert mean_share([0.1, 0.9]) == Estimate(0.5, 0.0, 1.0) and mean_share([0.5, 0.51]) == mean_of([0.5, 0.51])


class TestRecipes:
    def test_the_distance_is_the_share_of_drops_at_another_layer(self):
        one, other = recipe(10, 0, 30), recipe(0, 10, 30)
        of_one = [layer for layer, count in enumerate(one.removed) for _ in range(count)]
        of_other = [layer for layer, count in enumerate(other.removed) for _ in range(count)]
        moved = sum(a != b for a, b in zip(of_one, of_other, strict=True))
        assert recipe_distance(one, other) == moved / len(of_one) == 0.25
        assert recipe_distance(one, one) == 0.0 and recipe_distance(recipe(10, 0), recipe(0, 10)) == 1.0
        assert recipe_distance(recipe(10, 10), recipe(10, 0)) == 0.5 and recipe_distance(recipe(0), recipe(0)) == 0.0

    def test_recipes_of_other_models_have_none(self):
        with pytest.raises(ValueError, match="have no distance"):
            recipe_distance(recipe(1, 2), recipe(1, 2, 3))
        with pytest.raises(ValueError, match="have no distance"):
            recipe_distance(recipe(1, 2), recipe(1, 2, tokens=50))

    def test_nested_is_looked_at_after_every_layer(self):
        assert is_nested(recipe(5, 5, 0), recipe(9, 1, 5)) and is_nested(recipe(5, 5), recipe(5, 5))
        assert not is_nested(recipe(5, 5, 0), recipe(4, 20, 0))

    def test_an_even_recipe_saves_the_same_by_as_many_everywhere(self):
        statistics = peaked_statistics(4, 12, 256, seed=1)
        for reduction in (0.3, 0.5):
            fitted = fit_recipe(statistics, reduction)
            even = even_recipe(fitted, statistics.geometry)
            assert visual_reduction(statistics.geometry, even.removed, 256) == pytest.approx(reduction, abs=1e-3)
            assert even.achieved_reduction == visual_reduction(statistics.geometry, even.removed, 256)
            assert max(even.removed) - min(even.removed) <= 2 and even.reduction == fitted.reduction
            late = even_recipe(fit_recipe(statistics, 0.3), statistics.geometry, first_layer=3).removed
            assert not any(late[:3]) and min(late[3:]) > 0

    def test_what_even_steps_cannot_save_is_refused(self):
        statistics = peaked_statistics(4, 12, 256, seed=1)
        with pytest.raises(ValueError, match="equally many at every layer save"):
            even_recipe(fit_recipe(statistics, 0.6), statistics.geometry)

    def test_a_single_layer_drops_a_share(self):
        geometry = DecoderGeometry(4, 64, 128, 64, 64, 300)
        found = single_layer_recipe(PruningRecipe.empty(4, 36, "m"), geometry, 2, 0.75)
        assert found.removed == (0, 0, 27, 0)
        assert found.reduction == pytest.approx(visual_reduction(geometry, (0, 0, 27, 0), 36))


class TestStatistics:
    def test_stability_is_how_much_later_layers_keep_the_order(self):
        tokens = np.arange(1, 11, dtype=np.float32)
        orders = [tokens, tokens[::-1], tokens**2, tokens**3]  # two and three keep theirs, one turns it round
        attention = np.stack(orders)[None]
        geometry = DecoderGeometry(4, 64, 128, 64, 64, 300)
        found = stability(AttentionStatistics(attention, np.ones_like(attention), "m", geometry))
        assert len(found) == 3 and found[1] == pytest.approx(-1.0) and found[2] == pytest.approx(1.0)
        assert found[0] > 0.5  # two of the three layers after it keep its order
        flat = np.ones_like(attention)
        assert stability(AttentionStatistics(flat, flat, "m", geometry)) == [0.0, 0.0, 0.0]
