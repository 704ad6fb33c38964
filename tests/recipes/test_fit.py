from __future__ import annotations

import gc
import time
import weakref
from collections import namedtuple
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from fitprune_core.cost.decoder import visual_flops, visual_reduction
from fitprune_core.recipes import lowest_runs
from fitprune_core.recipes.budget import saved_share
from fitprune_core.recipes.fit import ALPHA_STEPS, Fitter, fit_recipe, fitter_for
from fitprune_core.recipes.statistics import AttentionStatistics
from tests.fit_statistics import Statistics, geometry, peaked_statistics, statistics_of, whole_number_statistics


def naive_removal(statistics: Statistics, alpha: float, attention: str) -> np.ndarray:
    """(samples, layers) tokens removed at alpha, from the rule as the paper words it: slow, plain, exact."""
    alpha = Fraction(alpha)
    kinds = {"both": ("self", "cross"), "self": ("self",), "cross": ("cross",)}[attention]
    counts = np.zeros(statistics.self_attention.shape[:2], dtype=int)
    for sample, layer in np.ndindex(*counts.shape):
        if layer == 0:
            left = set(range(statistics.self_attention.shape[2]))
        low = set(left)
        for kind in kinds:
            received = [int(value) for value in getattr(statistics, f"{kind}_attention")[sample, layer]]
            share = getattr(statistics, f"{kind}_share")
            share = 0 if share is None else Fraction(float(share[sample, layer]))
            total = sum(received)
            # What the tokens that went before had of all attention; the rest grows until it adds up to 1 again.
            gone = share * (total - sum(received[token] for token in left)) / total if total else 0
            growth = 1 / (1 - gone) if gone < 1 else 1
            ascending = sorted(left, key=lambda token: (received[token], token))
            needed = (1 - alpha) * total / growth
            run, rest = 0, sum(received[token] for token in ascending)
            for length, token in enumerate(ascending, start=1):
                rest -= received[token]
                if rest >= needed:
                    run = length
            low &= set(ascending[:run])
        counts[sample, layer] = len(low)
        left -= low
    return counts


class TestRule:
    @pytest.mark.parametrize("attention", ["both", "self", "cross"])
    @pytest.mark.parametrize("tokens", [1, 15, 16, 17, 40])
    @pytest.mark.parametrize("step", [0, 1, 64, 200, 256, 512, 768, 1023, 1024])
    def test_removal_is_that_of_the_rule(self, attention, tokens, step):
        statistics = whole_number_statistics(3, 5, tokens, seed=tokens)
        expected = naive_removal(statistics, step / ALPHA_STEPS, attention).mean(axis=0)
        assert Fitter(statistics).mean_removed(step, attention).tolist() == expected.tolist()

    @pytest.mark.parametrize("share", [0.25, 0.75, 1.0])
    @pytest.mark.parametrize("step", [64, 200, 512, 1024])
    def test_attention_is_spread_anew_over_what_is_left(self, step, share):
        statistics = whole_number_statistics(3, 5, 40)
        statistics.self_share = np.full((3, 5), share)
        statistics.cross_share = np.linspace(0, 7, 15).reshape(3, 5).round() / 8
        expected = naive_removal(statistics, step / ALPHA_STEPS, "both").mean(axis=0)
        assert Fitter(statistics).mean_removed(step, "both").tolist() == expected.tolist()

    def test_shares_of_another_shape_are_refused(self):
        statistics = whole_number_statistics(3, 5, 40)
        statistics.self_share = np.zeros((5, 3))
        with pytest.raises(ValueError, match=r"self_share must be .* \(3, 5\), not \(5, 3\)"):
            Fitter(statistics)

    def test_both_removes_no_more_than_either_at_the_first_layer(self):
        fitter = Fitter(peaked_statistics(8, 6, 100))
        for step in range(32, ALPHA_STEPS, 128):
            both, own, cross = (fitter.mean_removed(step, name)[0] for name in ("both", "self", "cross"))
            assert both <= min(own, cross)

    def test_never_removes_more_than_there_is(self):
        fitter = Fitter(peaked_statistics(8, 6, 100))
        for step in range(0, ALPHA_STEPS + 1, 64):
            removed = fitter.mean_removed(step, "both")
            assert (removed >= 0).all()
            assert removed.sum() <= 100

    def test_alpha_of_one_removes_everything_at_once(self):
        removed = Fitter(peaked_statistics(8, 6, 100)).mean_removed(ALPHA_STEPS, "both")
        assert removed.tolist() == [100, 0, 0, 0, 0, 0]

    def test_alpha_of_zero_removes_what_nothing_looks_at(self):
        statistics = whole_number_statistics(2, 3, 20)
        statistics.self_attention[:, 1, 7:9] = 0
        statistics.cross_attention[:, 1, 7:9] = -0.0
        removed = Fitter(statistics).mean_removed(0, "both")
        assert removed[1] >= 2 - removed[0]

    def test_is_the_smallest_alpha_that_meets_the_budget(self):
        fitter = Fitter(peaked_statistics(16, 6, 100))
        for reduction in (0.1, 0.45, 0.8):
            step = fitter.smallest_step(reduction, "both")
            saved = [saved_share(fitter.geometry, fitter.mean_removed(at, "both"), 100) for at in (step - 1, step)]
            assert saved[0] < reduction <= saved[1]

    @pytest.mark.parametrize("reduction", [0.2, 0.5, 0.8])
    def test_the_papers_rule_alone_drops_what_the_bound_allows(self, reduction):
        """Written out: at the smallest alpha of the grid that meets the budget, layer by layer, until it is met."""
        statistics = statistics_of(5, 8, 64, seed=2)
        found = fit_recipe(statistics, reduction, gather=False)
        assert visual_reduction(statistics.geometry, found.removed, 64) == pytest.approx(reduction, abs=1e-3)
        mean = fitter_for(statistics).mean_removed(round(found.alpha * ALPHA_STEPS), "both")
        last = max(layer for layer, count in enumerate(found.removed) if count)
        assert np.abs(np.array(found.removed)[:last] - mean[:last]).max() <= 2
        assert found.removed[last] <= mean[last] + 2
        assert sum(count > 0 for count in found.removed) >= sum(
            c > 0 for c in fit_recipe(statistics, reduction).removed
        )


class TestBudget:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["mini", "7b", "one sample", "ties"])
    def test_every_percent_is_met(self, shapes, name):
        fitter = fitter_for(shapes[name])
        for percent in [*range(1, 91), 0.1, 0.5, 33.3, 66.67, 89.95]:
            recipe = fitter.fit(percent / 100)
            assert recipe.achieved_reduction == pytest.approx(percent / 100, abs=0.0006)
            assert recipe.achieved_reduction == visual_reduction(
                fitter.geometry, recipe.removed, fitter.num_visual_tokens
            )

    @pytest.mark.parametrize("attention", ["self", "cross"])
    def test_every_tenth_percent_is_met_by_one_kind_of_attention(self, shapes, attention):
        for percent in range(10, 91, 10):
            recipe = fit_recipe(shapes["mini"], percent / 100, attention=attention)
            assert recipe.achieved_reduction == pytest.approx(percent / 100, abs=0.0006)
            assert recipe.attention == attention

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["mini", "one sample", "ties"])
    def test_larger_budgets_need_no_smaller_alpha_and_remove_more(self, shapes, name):
        recipes = [fit_recipe(shapes[name], percent / 100) for percent in range(0, 91, 3)]
        assert all(a.alpha <= b.alpha for a, b in pairwise(recipes))
        assert all(a.achieved_reduction < b.achieved_reduction for a, b in pairwise(recipes))

    @pytest.mark.slow
    def test_more_tokens_are_gone_after_the_last_layer(self, shapes):
        totals = [sum(fit_recipe(shapes["mini"], percent / 100).removed) for percent in range(0, 91, 10)]
        assert totals == sorted(totals)

    def test_zero_is_the_empty_recipe(self, shapes):
        recipe = fit_recipe(shapes["mini"], 0)
        assert recipe.removed == (0,) * 12
        assert (recipe.alpha, recipe.reduction, recipe.achieved_reduction) == (0.0, 0.0, 0.0)

    def test_recipe_tells_where_it_comes_from(self, shapes):
        recipe = fit_recipe(shapes["mini"], 0.6)
        assert (recipe.model, recipe.num_layers, recipe.num_visual_tokens) == ("a-model", 12, 256)
        assert (recipe.procedure, recipe.num_samples, recipe.attention) == ("statistics", 64, "both")
        assert recipe.source == "fitted from attention statistics of 64 samples"
        assert 0 < recipe.alpha < 1

    def test_recipe_tells_which_samples_they_were(self):
        statistics = peaked_statistics(8, 6, 100)
        statistics.provenance = {"source": "samples.jsonl"}
        assert fit_recipe(statistics, 0.5).source == "fitted from attention statistics of 8 samples (samples.jsonl)"

    def test_same_statistics_give_the_same_recipe_in_any_order_of_asking(self):
        one, other = peaked_statistics(8, 6, 100), peaked_statistics(8, 6, 100)
        percents = [60, 13, 88, 41]
        first = [fit_recipe(one, percent / 100) for percent in percents]
        second = [fit_recipe(other, percent / 100) for percent in reversed(percents)]
        assert first == second[::-1]

    @pytest.mark.parametrize(("layers", "tokens"), [(1, 50), (2, 1), (3, 4), (4, 9), (4, 36)])
    def test_few_tokens_come_as_near_as_whole_tokens_can(self, layers, tokens):
        statistics = peaked_statistics(5, layers, tokens)
        most = visual_reduction(statistics.geometry, [tokens] + [0] * (layers - 1), tokens)
        # What the nearest of all recipes could miss it by: half of what a token saves at the last layer or the first.
        coarse = (most - visual_reduction(statistics.geometry, [tokens - 1] + [0] * (layers - 1), tokens)) / 2
        for percent in range(1, int(100 * most), 7):
            recipe = fit_recipe(statistics, percent / 100)
            assert recipe.achieved_reduction == pytest.approx(percent / 100, abs=coarse + 1e-9)

    def test_a_budget_beyond_what_any_recipe_saves_is_refused(self):
        with pytest.raises(ValueError, match=r"reduction is 0.99.* saves 0\.[0-9]+ at most"):
            fit_recipe(peaked_statistics(5, 4, 36), 0.99)

    @pytest.mark.parametrize("reduction", [-0.1, 1.0, 60, float("nan"), "0.6", None, True])
    def test_budgets_that_cannot_be_are_refused(self, reduction):
        with pytest.raises(ValueError, match="reduction must be a share"):
            fit_recipe(peaked_statistics(5, 4, 36), reduction)

    def test_unknown_attention_is_refused(self):
        with pytest.raises(ValueError, match=r"'neither'.*both, self, cross"):
            fit_recipe(peaked_statistics(5, 4, 36), 0.5, attention="neither")


def unequal_statistics(counts: list[int], layers: int = 5, seed: int = 0, width: int = 160) -> Statistics:
    """Whole-number statistics of samples with these token counts, padded with zeros."""
    statistics = whole_number_statistics(len(counts), layers, max(counts), seed)
    statistics.geometry, statistics.token_counts = geometry(layers, width), counts
    for sample, count in enumerate(counts):
        statistics.self_attention[sample, :, count:] = statistics.cross_attention[sample, :, count:] = 0
    return statistics


def alone(statistics: Statistics, sample: int) -> Statistics:
    """One sample of them, without its padding."""
    parts = (values[sample : sample + 1, :, : statistics.token_counts[sample]]
             for values in (statistics.self_attention, statistics.cross_attention))  # fmt: skip
    return Statistics(*parts, statistics.geometry)


class TestUnequalTokenCounts:
    COUNTS = [40, 17, 1, 33, 16, 40, 29]

    @pytest.mark.parametrize("attention", ["both", "self", "cross"])
    @pytest.mark.parametrize("step", [0, 64, 200, 512, 1023, 1024])
    def test_each_sample_removes_what_the_rule_says_of_its_own_tokens(self, attention, step):
        statistics = unequal_statistics(self.COUNTS)
        shares = [
            naive_removal(alone(statistics, sample), step / ALPHA_STEPS, attention)[0] / count
            for sample, count in enumerate(self.COUNTS)
        ]
        expected = 40 * np.mean(shares, axis=0)
        np.testing.assert_allclose(Fitter(statistics).mean_removed(step, attention), expected, rtol=1e-12, atol=1e-12)

    def test_the_budget_is_that_of_all_samples_by_their_flops(self):
        counts = [40, 17, 33, 16, 29]
        statistics = unequal_statistics(counts)
        fitter, sizes = Fitter(statistics), statistics.geometry

        def saved(step: int) -> float:
            removed = [naive_removal(alone(statistics, sample), step / ALPHA_STEPS, "both")[0] for sample in range(5)]
            full = sum(visual_flops(sizes, [0] * 5, count) for count in counts)
            spent = sum(visual_flops(sizes, one, count) for one, count in zip(removed, counts, strict=True))
            return 1 - spent / full

        for reduction in (0.15, 0.4, 0.6):
            step = fitter.smallest_step(reduction, "both")
            assert saved(step - 1) < reduction <= saved(step)

    @pytest.mark.slow
    @pytest.mark.parametrize("attention", ["both", "self", "cross"])
    def test_every_budget_is_met_by_a_recipe_for_the_largest_count(self, attention):
        statistics = peaked_statistics(12, 8, 400)
        statistics.token_counts = np.linspace(150, 400, 12).astype(int)
        for sample, count in enumerate(statistics.token_counts):
            statistics.self_attention[sample, :, count:] = statistics.cross_attention[sample, :, count:] = 0
        for percent in range(5, 86, 5):
            recipe = fit_recipe(statistics, percent / 100, attention=attention)
            assert recipe.num_visual_tokens == 400
            assert recipe.achieved_reduction == pytest.approx(percent / 100, abs=0.0006)

    @pytest.mark.slow
    def test_equal_counts_that_are_given_change_nothing(self):
        one, other = peaked_statistics(6, 5, 50), peaked_statistics(6, 5, 50)
        other.token_counts = [50] * 6
        for percent in range(0, 86, 5):
            assert fit_recipe(one, percent / 100) == fit_recipe(other, percent / 100)

    def test_the_order_of_the_samples_does_not_matter(self):
        statistics, backwards = (unequal_statistics(self.COUNTS) for _ in range(2))
        backwards.token_counts = self.COUNTS[::-1]
        backwards.self_attention, backwards.cross_attention = (
            values[::-1] for values in (statistics.self_attention, statistics.cross_attention)
        )
        assert fit_recipe(statistics, 0.5) == fit_recipe(backwards, 0.5)

    @pytest.mark.parametrize("counts", [[40], [40] * 8, [40.0] * 7, [39] * 7, [41] + [40] * 6, [0] + [40] * 6])
    def test_counts_that_cannot_be_are_refused(self, counts):
        statistics = unequal_statistics(self.COUNTS)
        statistics.token_counts = counts
        with pytest.raises(ValueError, match="token_counts"):
            fit_recipe(statistics, 0.5)


class TestOddStatistics:
    def test_nothing_crosses_a_threshold_until_alpha_is_large(self):
        # One token holds everything at every layer, and the other attention disagrees about which.
        statistics = peaked_statistics(3, 4, 40)
        statistics.self_attention[:] = 1.0
        statistics.cross_attention[:] = 0.0
        statistics.cross_attention[:, :, 39] = 1.0
        recipe = fit_recipe(statistics, 0.5)
        assert recipe.achieved_reduction == pytest.approx(0.5, abs=0.005)

    def test_all_zero_attention_can_be_fitted(self):
        statistics = peaked_statistics(3, 4, 40)
        statistics.self_attention[:] = statistics.cross_attention[:] = 0.0
        recipe = fit_recipe(statistics, 0.5)
        assert recipe.alpha == 0.0
        assert recipe.achieved_reduction == pytest.approx(0.5, abs=0.005)

    @pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
    def test_values_that_are_no_attention_are_named(self, value):
        statistics = peaked_statistics(3, 4, 40)
        statistics.cross_attention[2, 1, 17] = value
        with pytest.raises(ValueError, match="cross_attention of sample 2, layer 1, token 17"):
            fit_recipe(statistics, 0.5)

    @pytest.mark.parametrize("shape", [(4, 40), (0, 4, 40), (3, 4, 0), (3, 5, 40)])
    def test_shapes_that_do_not_fit_are_named(self, shape):
        statistics = Statistics(np.ones(shape, np.float32), np.ones(shape, np.float32), geometry(4))
        with pytest.raises(ValueError, match="self_attention"):
            fit_recipe(statistics, 0.5)

    def test_kinds_of_different_shape_are_refused(self):
        statistics = Statistics(np.ones((3, 4, 40), np.float32), np.ones((3, 4, 41), np.float32), geometry(4))
        with pytest.raises(ValueError, match="one shape"):
            fit_recipe(statistics, 0.5)

    def test_half_precision_and_lists_are_read(self):
        whole = whole_number_statistics(3, 4, 40)
        half = Statistics(whole.self_attention.astype(np.float16), whole.cross_attention.tolist(), whole.geometry)
        assert fit_recipe(half, 0.5).removed == fit_recipe(whole, 0.5).removed


class TestFitters:
    @pytest.mark.slow
    @pytest.mark.parametrize("make", [peaked_statistics, whole_number_statistics])
    @pytest.mark.parametrize("cores", [3, 20])
    def test_cores_that_share_the_samples_change_nothing(self, monkeypatch, make, cores):
        alone, shared = make(10, 6, 50), make(10, 6, 50)
        shared.token_counts = [50] * 10
        recipes = [fit_recipe(alone, percent / 100) for percent in (10, 40, 80)]
        monkeypatch.setattr(lowest_runs, "_cores", lambda: cores)
        monkeypatch.setattr(lowest_runs, "_FEWEST_SAMPLES", 1)
        assert [fit_recipe(shared, percent / 100) for percent in (10, 40, 80)] == recipes

    @pytest.mark.slow
    def test_a_walk_that_stopped_at_a_smaller_budget_serves_a_larger_one(self):
        fitter = Fitter(peaked_statistics(16, 6, 100))
        for percent in (80, 20, 50, 85, 10):
            assert fitter.fit(percent / 100) == Fitter(peaked_statistics(16, 6, 100)).fit(percent / 100)

    def test_one_fitter_for_one_object(self):
        one, other = statistics_of(3, 4, 40, 0), statistics_of(3, 4, 40, 0)
        assert fitter_for(one) is fitter_for(one)
        assert fitter_for(one) is not fitter_for(other)

    def test_fitters_go_with_their_statistics(self):
        statistics = statistics_of(3, 4, 40, 0)
        fitter = weakref.ref(fitter_for(statistics))
        assert fitter() is not None
        del statistics
        gc.collect()
        assert fitter() is None

    def test_what_may_change_is_fitted_anew(self):
        """Any object will do, also one that nothing can refer to weakly; its arrays are its owner's."""
        made, other = (statistics_of(3, 8, 40, seed) for seed in (0, 1))
        fields = {"geometry": made.geometry, "model": "m", "num_samples": 3}
        arrays = [(each.self_attention.copy(), each.cross_attention.copy()) for each in (made, other)]
        first, second = (fit_recipe(AttentionStatistics(*each, "m", made.geometry), 0.5) for each in arrays)
        assert first.removed != second.removed
        statistics = SimpleNamespace(self_attention=arrays[0][0], cross_attention=arrays[0][1], **fields)
        assert fit_recipe(statistics, 0.5) == first
        statistics.self_attention[:], statistics.cross_attention[:] = arrays[1]
        assert fit_recipe(statistics, 0.5) == second
        assert fit_recipe(namedtuple("Statistics", vars(statistics))(**vars(statistics)), 0.5) == second

    def test_a_path_is_no_statistics(self):
        with pytest.raises(ValueError, match=r"'s.npz'; give an AttentionStatistics; AttentionStatistics.load"):
            fit_recipe("s.npz", 0.5)

    @pytest.mark.slow
    def test_a_slider_over_mini_llava_is_quick(self):
        statistics = statistics_of(64, 12, 256, 0)
        fit_recipe(statistics, 0.5)
        start = time.process_time()
        for percent in range(1, 91):
            fit_recipe(statistics, percent / 100)
        # Processor time, and generous: this is a guard against a change of order of magnitude, not a benchmark.
        assert (time.process_time() - start) / 90 < 0.04
