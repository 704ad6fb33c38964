"""Where a model's recipes come from."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from fitprune_core import AttentionStatistics, fit_recipe, recipe_for
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.store import STATISTICS, recipe_source, statistics_path


@pytest.fixture(scope="module")
def statistics():
    return AttentionStatistics.load(RECIPES / "mini-llava" / STATISTICS)


@pytest.fixture
def recipes(tmp_path):
    """A folder with mini-llava's statistics alone."""
    (tmp_path / "mini-llava").mkdir()
    shutil.copy(RECIPES / "mini-llava" / STATISTICS, tmp_path / "mini-llava")
    return tmp_path


def test_recipes_are_fitted_from_statistics_that_are_there(recipes, statistics):
    assert recipe_source("mini-llava", statistics.geometry, recipes)(0.6) == fit_recipe(statistics, 0.6)


def test_a_model_is_not_its_name():
    with pytest.raises(ValueError, match="give the model's name") as told:
        recipe_for(torch.nn.Linear(400, 400), 0.5)
    assert len(str(told.value)) < 300


def test_one_budget_is_what_the_source_gives(recipes, statistics):
    assert recipe_for("mini-llava", 0.6, recipes=recipes) == fit_recipe(statistics, 0.6)
    with pytest.raises(ValueError, match=r"\(.*60.* %\).*give geometry=DecoderGeometry"):
        recipe_for("llava-hf/llava-1.5-7b-hf", 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["someone/My-Model-hf", "/somewhere/models/My-Model", "my-model"])
def test_the_path_that_is_advised_is_the_path_that_is_found(tmp_path, statistics, name):
    with pytest.raises(ValueError) as raised:
        recipe_for(name, 0.6, recipes=tmp_path)
    path = statistics_path(name, tmp_path)
    assert str(path) in str(raised.value) and path.is_relative_to(tmp_path)
    replace(statistics, model=name).save(path)
    assert recipe_for(name, 0.6, recipes=tmp_path).removed == fit_recipe(statistics, 0.6).removed


@pytest.mark.slow
def test_a_folder_of_the_own_owner_comes_first(tmp_path, statistics):
    for owner in ("a", "me", "you"):
        replace(statistics, model=f"{owner}/llava").save(tmp_path / owner / "llava" / STATISTICS)
    assert recipe_for("me/llava", 0.6, recipes=tmp_path).model == "me/llava"
    replace(statistics, model="llava").save(tmp_path / "llava" / STATISTICS)
    assert recipe_for("them/llava", 0.6, recipes=tmp_path).model == "llava"
    assert recipe_for("you/llava", 0.6, recipes=tmp_path).model == "you/llava"
