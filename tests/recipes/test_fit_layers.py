"""Fits that may drop at some layers only."""

from __future__ import annotations

from copy import copy

import pytest

from fitprune_core.recipes.fit import fit_recipe, fitter_for


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
            ValueError, match=r"dropping at 2 layers, of which the first is number 8 saves 0\.\d+ at most"
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
            assert f"layer {first} on" in recipe.source
        assert fit_recipe(shapes["mini"], 0.5, first_drop_layer=0) == fit_recipe(shapes["mini"], 0.5)

    def test_both_limits_hold_together(self, shapes):
        removed = fit_recipe(shapes["mini"], 0.4, first_drop_layer=2, max_drop_layers=2).removed
        assert not any(removed[:2]) and sum(count > 0 for count in removed) <= 2

    def test_what_cannot_be_is_named(self, shapes):
        for layer in (-1, 12, 1.5, True):
            with pytest.raises(ValueError, match="first_drop_layer must be a whole number"):
                fit_recipe(shapes["mini"], 0.5, first_drop_layer=layer)
        with pytest.raises(ValueError, match="of which the first is number 7 saves"):
            fit_recipe(shapes["mini"], 0.8, first_drop_layer=6)

    def test_statistics_of_a_model_whose_first_layers_may_not_drop_say_so(self, shapes):
        statistics = copy(shapes["mini"])
        statistics.provenance = {"first_drop_layer": "3"}
        recipe = fit_recipe(statistics, 0.5)
        assert not any(recipe.removed[:3]) and recipe == fit_recipe(statistics, 0.5, first_drop_layer=3)
        assert not any(fit_recipe(statistics, 0.4, first_drop_layer=5).removed[:5])
        with pytest.raises(ValueError, match="first_drop_layer is 2, but the layers of .* before 3"):
            fit_recipe(statistics, 0.5, first_drop_layer=2)
