"""A sweep says of every way what a comparison says, and answers the original once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fitprune_core import METHODS, collect_statistics, fit_recipe, prune_visual_tokens
from fitprune_core.run import sweep as sweep_module
from fitprune_core.run.comparison import compare
from fitprune_core.run.sweep import sweep
from tests.tiny import random_picture

PERCENTS = (30, 60, 85)


@pytest.fixture(scope="module")
def recipes(tiny):
    statistics = collect_statistics(*tiny, [(random_picture(seed=seed), "What?") for seed in range(2)])
    return [fit_recipe(statistics, percent / 100) for percent in PERCENTS]


def untimed(comparison):
    """A comparison without what was measured with a clock."""
    still = {"prefill_ms": 0.0, "decode_ms": 0.0, "per_token_ms": None, "total_ms": 0.0}
    runs = {side: replace(getattr(comparison, side), **still) for side in ("original", "pruned")}
    return replace(comparison, **runs, timing="", paired=None)


@pytest.mark.slow
@pytest.mark.parametrize("methods", [("fitprune", "random"), ("divprune",)])
def test_it_is_the_comparisons_of_all_ways(tiny, recipes, methods):
    found = list(sweep(*tiny, random_picture(), "What is it?", recipes, methods, max_new_tokens=4))
    ways = [(recipe, method) for method in methods for recipe in recipes]
    assert [(item.recipe, item.method) for item in found] == ways
    for item, (recipe, method) in zip(found, ways, strict=True):
        one = compare(*tiny, random_picture(), "What is it?", recipe, method=method, max_new_tokens=4, repeats=0)
        assert untimed(item) == untimed(one)


def test_the_original_answers_once(tiny, recipes, monkeypatch):
    asked, answer = [], sweep_module.answer
    monkeypatch.setattr(sweep_module, "answer", lambda *args, **more: asked.append(args[3]) or answer(*args, **more))
    list(sweep(*tiny, random_picture(), "What?", recipes, ("fitprune", "random"), max_new_tokens=2))
    assert [way.recipe is None for way in asked] == [True] + [False] * 6


def test_the_same_method_twice_is_one(tiny, recipes):
    found = sweep(*tiny, random_picture(), "What?", recipes[:1], ("random", "random:seed=0"), max_new_tokens=2)
    assert [item.method for item in found] == ["random"]


def test_a_stop_ends_it_between_two_tokens(tiny, recipes):
    done = []
    for item in sweep(*tiny, random_picture(), "What?", recipes, max_new_tokens=2, should_stop=lambda: len(done) == 2):
        done.append(item)
    assert len(done) == 2


@pytest.mark.parametrize(("methods", "words"), [((), "at least one"), (("no-such",), "no-such")])
def test_what_cannot_be_is_refused_at_once(tiny, recipes, methods, words):
    with pytest.raises(ValueError, match=words):
        sweep(*tiny, random_picture(), "What?", recipes, methods)


def test_a_way_that_the_model_cannot_go_is_refused_at_once(tiny, recipes):
    """Not in the middle of the sweep: its generator is not even begun."""
    with pytest.raises(ValueError, match="fastv"):
        sweep(*tiny, random_picture(), "What?", recipes, ("fitprune", "fastv:layer=3"))


def test_a_recipe_of_another_depth_is_refused_at_once(tiny, recipes):
    other = replace(recipes[0], num_layers=2, removed=(1, 1))
    with pytest.raises(ValueError, match="2"):
        sweep(*tiny, random_picture(), "What?", [recipes[0], other])


def test_recipes_may_come_one_after_another(tiny, recipes):
    several = ["fitprune", "random"]
    listed = list(sweep(*tiny, random_picture(), "what?", recipes, several, max_new_tokens=2))
    drawn = list(sweep(*tiny, random_picture(), "what?", iter(recipes), several, max_new_tokens=2))
    assert [each.pruned.token_ids for each in drawn] == [each.pruned.token_ids for each in listed]
    assert len(drawn) == len(several) * len(recipes)


def test_one_recipe_and_one_method_need_no_list(tiny, recipes):
    for method in ("random", METHODS["random"], METHODS["random"]()):
        (one,) = sweep(*tiny, random_picture(), "What?", recipes[0], method, max_new_tokens=1)
        assert (one.recipe, one.method) == (recipes[0], "random")


@pytest.mark.parametrize("given", [0.6, "recipe.json", None])
def test_what_is_no_recipe_is_refused_with_where_recipes_come_from(tiny, given):
    model, words = tiny[0], r"it must be a PruningRecipe: recipe_for\(.*PruningRecipe.load\(path\) reads a file"
    with pytest.raises(ValueError, match=words), prune_visual_tokens(model, given):
        pass
    if given is not None:  # which says unpruned, with no method
        with pytest.raises(ValueError, match=words):
            compare(*tiny, random_picture(), "What?", given)
        with pytest.raises(ValueError, match=words):
            sweep(*tiny, random_picture(), "What?", [given])


def test_a_comparison_takes_its_first_way_by_name(tiny, recipes):
    for method in ("random:seed=1", METHODS["random"](seed=1)):
        result = compare(*tiny, random_picture(), "What?", recipes[0], against=method, max_new_tokens=1, repeats=0)
        assert (result.against.method, result.against.recipe) == ("random(seed=1)", recipes[0])
    plain = compare(*tiny, random_picture(), "What?", recipes[0], against="original", max_new_tokens=1, repeats=0)
    assert plain.against is None
