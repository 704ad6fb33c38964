"""Where a model's recipes come from, and how a model's folder says that they are fitted otherwise."""

from __future__ import annotations

import json
import shutil

import pytest

from fitprune_core import AttentionStatistics, fit_recipe
from fitprune_core.published import RECIPES
from fitprune_core.recipe_store import FIT, STATISTICS, recipe_source


@pytest.fixture(scope="module")
def statistics():
    return AttentionStatistics.load(RECIPES / "mini-llava" / STATISTICS)


@pytest.fixture
def recipes(tmp_path):
    """A folder with mini-llava's statistics alone."""
    (tmp_path / "mini-llava").mkdir()
    shutil.copy(RECIPES / "mini-llava" / STATISTICS, tmp_path / "mini-llava")
    return tmp_path


def test_by_default_every_layer_may_drop(recipes, statistics):
    assert recipe_source("mini-llava", statistics.geometry, recipes)(0.6) == fit_recipe(statistics, 0.6)


def test_a_folder_says_which_layer_drops_first_and_up_to_which_budget(recipes, statistics):
    (recipes / "mini-llava" / FIT).write_text(json.dumps({"first_drop_layer": 3, "largest_reduction": 0.5}))
    recipe_for = recipe_source("mini-llava", statistics.geometry, recipes)
    assert recipe_for(0.5) == fit_recipe(statistics, 0.5, first_drop_layer=3)
    assert recipe_for(0.51) == fit_recipe(statistics, 0.51)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting property name"),
        ('{"first_layer": 2}', "first_layer"),
        ('{"first_drop_layer": -1}', "first_drop_layer must be a whole number from 0 up, not -1"),
        ('{"largest_reduction": 70}', "largest_reduction must be"),
        ("[1]", "must be"),
    ],
)
def test_a_file_that_cannot_be_is_named(recipes, statistics, text, words):
    (recipes / "mini-llava" / FIT).write_text(text)
    with pytest.raises(ValueError, match="fit.json") as error:
        recipe_source("mini-llava", statistics.geometry, recipes)
    assert words in str(error.value)
