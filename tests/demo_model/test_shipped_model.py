"""The checkpoint, statistics and recipes that ship: they belong together, and the model answers, pruned or not."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import fmean

import pytest

import fitprune_core as fp
from app.demo_model.evaluate import answered, foreign_items, methods_table, scene_items, table, unseen_items
from app.demo_model.questions import READING
from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.evaluation.known import read_known
from fitprune_core.evaluation.outcomes import Outcomes, read_results
from fitprune_core.models.provenance import weights_digest
from fitprune_core.recipes.store import recipe_source

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "mini-llava"


@pytest.fixture(scope="module")
def mini_llava():
    return fp.load_model("mini-llava", device="cpu")


@pytest.fixture(scope="module")
def statistics():
    return fp.AttentionStatistics.load(RECIPES / "statistics.npz")


@pytest.fixture(scope="module")
def recipe_for(mini_llava):
    return recipe_source("mini-llava", DecoderGeometry.from_config(mini_llava[0].config))


def shares_right(outcomes: Outcomes) -> list[float]:
    """Of each side."""
    return [fmean(bool(given and given.right) for given in side.answers) for side in outcomes.sides]


def test_the_checkpoint_is_small_and_deep_enough(mini_llava):
    model, _ = mini_llava
    assert DecoderGeometry.from_config(model.config).num_layers >= 12
    assert model.config.image_seq_length >= 256
    assert sum(file.stat().st_size for file in (ROOT / "assets" / "mini-llava").iterdir()) <= 25e6


def test_the_statistics_are_of_this_model(mini_llava, statistics):
    model, _ = mini_llava
    assert statistics.geometry == DecoderGeometry.from_config(model.config)
    assert statistics.model == "mini-llava" and statistics.num_samples >= 64


@pytest.mark.slow
def test_what_the_app_says_of_its_accuracy_is_of_these_weights(mini_llava):
    model, _ = mini_llava
    found = read_known("mini-llava", lambda: weights_digest(model), ROOT / "recipes").budgets
    assert [each.percent for each in found] == pytest.approx([20, 40, 60, 80, 90])
    assert min(each.asked for each in found) > 400
    assert all(each.original >= each.right for each in found)


@pytest.mark.slow
def test_an_answer_tells_how_sure_it_is_and_the_card_says_how_well(mini_llava):
    model, _ = mini_llava
    known = read_known("mini-llava", lambda: weights_digest(model), ROOT / "recipes").sureness
    (at_60,) = (each for each in known if (each.method, each.reduction) == ("fitprune", 0.6))
    sure, unsure = at_60.near(1.0), at_60.near(0.0)
    card = " ".join((ROOT / "assets" / "mini-llava" / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"Of the {unsure.asked} answers at 60 % that were least sure {unsure.right} were not the original's, of the "
        f"{sure.asked:,} surest {sure.right}."
    ) in card


@pytest.mark.slow
def test_the_card_has_every_figure_of_the_evaluation_that_ships():
    outcomes = read_results(RECIPES / "evaluation.csv")
    card = (ROOT / "assets" / "mini-llava" / "README.md").read_text(encoding="utf-8")
    for line in table(outcomes, "fitprune").splitlines():
        assert line in card
    for line in methods_table(outcomes).splitlines():
        assert line.split("|", 2)[2] in card  # the first cell is empty where another method's row came before


@pytest.mark.parametrize("percent", range(10, 100, 10))
def test_every_recipe_file_is_what_its_statistics_give_and_meets_its_budget(mini_llava, recipe_for, percent):
    model, _ = mini_llava
    recipe = fp.PruningRecipe.load(RECIPES / f"{percent}.json")
    counted = visual_reduction(model.config, recipe.removed, recipe.num_visual_tokens)
    assert abs(counted - percent / 100) <= 0.002
    assert recipe.achieved_reduction == pytest.approx(counted)
    assert recipe == recipe_for(percent / 100)
    # No layer scores its tokens to drop next to nothing; a token or two may have moved to meet the budget.
    assert min(count for count in recipe.removed if count) >= 0.02 * recipe.num_visual_tokens - 2


@pytest.mark.slow
def test_every_whole_percent_is_met_within_a_fifth_of_a_point(mini_llava, recipe_for):
    model, _ = mini_llava
    for percent in range(1, 91):
        removed = recipe_for(percent / 100).removed
        assert abs(visual_reduction(model.config, removed, model.config.image_seq_length) - percent / 100) <= 0.002


@pytest.mark.slow
def test_it_answers_and_keeps_most_of_that_at_60_percent(mini_llava, tmp_path):
    """Far below what the model card reports, so that only a broken model or broken pruning fails."""
    original, pruned = shares_right(answered(*mini_llava, scene_items(20), tmp_path, [0.6]))
    assert original >= 0.88 and pruned >= 0.75 * original


@pytest.mark.slow
def test_reading_needs_the_right_tokens(mini_llava, tmp_path):
    """What a random choice loses, attention keeps: far less of a lead than the model card reports."""
    items = [item for item in scene_items(40, worlds=("crowded",)) if item[0] in READING]
    outcomes = answered(*mini_llava, items, tmp_path, [0.6], methods=("fitprune", "random"))
    original, fitted, at_random = shares_right(outcomes)
    assert [side.method for side in outcomes.sides] == ["original", "fitprune", "random"]
    assert original >= fitted >= at_random + 0.1


@pytest.mark.slow
def test_it_says_when_it_does_not_know(mini_llava, tmp_path):
    items = [*itertools.islice(unseen_items(), 20), *foreign_items(20)]
    assert shares_right(answered(*mini_llava, items, tmp_path)) >= [0.7]
