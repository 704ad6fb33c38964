"""Where a model's recipes come from."""

from __future__ import annotations

import shutil

import pytest

from fitprune_core import AttentionStatistics, fit_recipe
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.store import STATISTICS, recipe_source


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
