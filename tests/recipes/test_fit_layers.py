"""Fits that may drop at some layers only."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.recipes.fit import (
    DROP_MULTIPLY_ADDS,
    LARGEST_DROP_COST,
    LEAST_DROP_COST,
    drop_cost,
    fit_recipe,
    fitter_for,
)
from tests.fit_statistics import Statistics, geometry


class TestFewerLayers:
    @pytest.mark.parametrize("most", [1, 2, 4, 12, 40])
    @pytest.mark.parametrize("percent", [10, 60, 85])
    def test_budget_is_met_with_fewer_layers_that_drop(self, shapes, most, percent):
        recipe = fit_recipe(shapes["mini"], percent / 100, max_drop_layers=most)
        assert sum(count > 0 for count in recipe.removed) <= most
        # One layer alone can meet it to half of what one token saves, which is 0.4 points.
        assert recipe.achieved_reduction == pytest.approx(percent / 100, abs=0.0025 if most == 1 else 0.0006)

    def test_fewer_layers_need_a_larger_alpha(self, shapes):
        alphas = [fit_recipe(shapes["mini"], 0.6, max_drop_layers=most).alpha for most in (1, 2, 3, 6, 12)]
        assert alphas == sorted(alphas, reverse=True)
        assert alphas[-1] == fit_recipe(shapes["mini"], 0.6).alpha

    def test_as_many_as_there_are_change_nothing(self, shapes):
        assert fit_recipe(shapes["mini"], 0.6, max_drop_layers=12) == fit_recipe(shapes["mini"], 0.6)

    def test_zero_is_still_empty(self, shapes):
        assert set(fit_recipe(shapes["mini"], 0, max_drop_layers=2).removed) == {0}

    def test_layers_that_cannot_save_enough_are_named(self, shapes):
        with pytest.raises(
            ValueError, match=r"dropping at 2 layers, the first of them layer 8 .counted from 1., saves 0\.\d+ at most"
        ):
            fitter_for(shapes["mini"])._wanted(0.5, "both", (7, 9))

    @pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
    def test_impossible_numbers_of_layers_are_refused(self, shapes, count):
        with pytest.raises(ValueError, match="max_drop_layers must be a whole number"):
            fit_recipe(shapes["mini"], 0.5, max_drop_layers=count)


class TestFirstDropLayer:
    def test_earlier_layers_keep_everything_and_the_budget_is_met(self, shapes):
        for first in (1, 3):
            recipe = fit_recipe(shapes["mini"], 0.5, first_drop_layer=first)
            assert not any(recipe.removed[:first]) and recipe.removed[first]
            assert abs(recipe.achieved_reduction - 0.5) <= 0.002
            assert recipe.alpha > fit_recipe(shapes["mini"], 0.5).alpha
            assert f"layer {first + 1} on, counted from 1" in recipe.source
        assert fit_recipe(shapes["mini"], 0.5, first_drop_layer=0) == fit_recipe(shapes["mini"], 0.5)

    def test_both_limits_hold_together(self, shapes):
        removed = fit_recipe(shapes["mini"], 0.4, first_drop_layer=2, max_drop_layers=2).removed
        assert not any(removed[:2]) and sum(count > 0 for count in removed) <= 2

    def test_what_cannot_be_is_named(self, shapes):
        for layer in (-1, 12, 1.5, True):
            with pytest.raises(ValueError, match="first_drop_layer must be a whole number"):
                fit_recipe(shapes["mini"], 0.5, first_drop_layer=layer)
        with pytest.raises(ValueError, match="the first of them layer 7 .counted from 1., saves"):
            fit_recipe(shapes["mini"], 0.8, first_drop_layer=6)

    def test_statistics_of_a_model_whose_first_layers_may_not_drop_say_so(self, shapes):
        statistics = copy(shapes["mini"])
        statistics.provenance = {"first_drop_layer": "3"}
        recipe = fit_recipe(statistics, 0.5)
        assert not any(recipe.removed[:3]) and recipe == fit_recipe(statistics, 0.5, first_drop_layer=3)
        assert not any(fit_recipe(statistics, 0.4, first_drop_layer=5).removed[:5])
        with pytest.raises(ValueError, match="is 2 .counted from 0., but the first 3 layers .* is 3, which is layer 4"):
            fit_recipe(statistics, 0.5, first_drop_layer=2)

    @pytest.mark.parametrize("said", ["99", "-3", "x", "1.5"])
    def test_what_statistics_cannot_say_of_it_is_refused(self, shapes, said):
        statistics = copy(shapes["mini"])
        statistics.provenance = {"first_drop_layer": said}
        with pytest.raises(ValueError, match=f"first_drop_layer is '{said}'; it must be a whole number from 0 to 11"):
            fit_recipe(statistics, 0.5)


def gradual(width: int = 160):
    """Attention that is nearly even in the first layers and ever more peaked, so that every layer has some to drop."""
    random = np.random.default_rng(0)
    powers = np.linspace(0.3, 3, 12)[None, :, None]
    received = [random.random((16, 12, 256)) ** powers for _ in range(2)]
    return Statistics(*(each / each.sum(-1, keepdims=True) for each in received), geometry(12, width))


class TestNarrowDecoders:
    """Where a drop costs more than its products, it waits until it is worth that."""

    @pytest.mark.parametrize("percent", [5, 20, 40, 60, 80])
    def test_fewer_layers_drop_more_for_the_same_bound_and_budget(self, monkeypatch, percent):
        few = fit_recipe(gradual(), percent / 100)
        monkeypatch.setattr("fitprune_core.recipes.fit.LARGEST_DROP_COST", LEAST_DROP_COST)
        many = fit_recipe(gradual(), percent / 100)
        assert few.alpha == many.alpha
        assert 0 < sum(map(bool, few.removed)) < sum(map(bool, many.removed))
        for recipe in (few, many):
            assert recipe.achieved_reduction == pytest.approx(percent / 100, abs=0.0006)

    def test_a_small_budget_is_met_at_few_layers(self):
        recipe = fit_recipe(gradual(), 0.02)
        assert recipe.achieved_reduction == pytest.approx(0.02, abs=0.0006)
        assert 1 <= sum(map(bool, recipe.removed)) <= 2

    @pytest.mark.slow
    def test_wide_decoders_drop_as_ever(self, monkeypatch):
        wide = [fit_recipe(gradual(4000), percent / 100) for percent in (20, 60)]
        monkeypatch.setattr("fitprune_core.recipes.fit.LARGEST_DROP_COST", LEAST_DROP_COST)
        assert wide == [fit_recipe(gradual(4000), percent / 100) for percent in (20, 60)]

    @pytest.mark.parametrize(
        ("layers", "width", "mlp"), [(32, 4096, 11008), (24, 896, 4864), (30, 576, 1536)], ids=["7B", "0.5B", "256M"]
    )
    def test_models_that_people_use_are_wide(self, layers, width, mlp):
        decoder = DecoderGeometry(layers, width, mlp, width, width, 32000)
        assert drop_cost(decoder, 576) == LEAST_DROP_COST * 576

    def test_what_a_drop_costs_is_told_in_tokens_of_a_layer(self):
        decoder = DecoderGeometry(12, 320, 960, 320, 320, 1000)
        cost = drop_cost(decoder, 256)
        assert LEAST_DROP_COST * 256 < cost < LARGEST_DROP_COST * 256
        row = 320 * (4 * 320 + 3 * 960)  # projections and MLP; what a row attends to is less than a hundredth of that
        assert cost * row == pytest.approx(DROP_MULTIPLY_ADDS, rel=0.01)
