from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transformers import LlamaConfig

from fitprune_core.cost.decoder import DecoderGeometry, tokens_per_layer, visual_reduction
from fitprune_core.recipes.budget import largest_reduction
from fitprune_core.recipes.published import interpolate_published, published_recipes, recipe_folder
from fitprune_core.recipes.recipe import PruningRecipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FIGURES = json.loads((Path(__file__).parent.parent / "data" / "published_recipes.json").read_text())["models"]
VICUNA_7B = DecoderGeometry(32, 4096, 11008, 4096, 4096, 32064)
FILES = sorted(RECIPES.glob("*/published-*.json"))
MODELS = {
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "llava-next-7b": "llava-hf/llava-v1.6-vicuna-7b-hf",
    "llava-hr-7b-1024": "favor123/llava-hr-7b-sft-1024",
}


def test_every_published_recipe_has_its_file_and_no_other():
    expected = {
        f"{family}/published-{percent}.json" for family, entry in FIGURES.items() for percent in entry["recipes"]
    }
    assert {path.relative_to(RECIPES).as_posix() for path in FILES} == expected
    assert len(FILES) == 14


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_figure_of_a_file_is_recomputed(path):
    recipe = PruningRecipe.load(path)
    percent = path.stem.removeprefix("published-")
    figures = FIGURES[path.parent.name]["recipes"][percent]
    assert recipe.removed == tuple(figures["removed"])
    assert recipe.num_visual_tokens == FIGURES[path.parent.name]["visual_tokens"]
    assert recipe.reduction == figures["nominal_reduction"] == int(percent) / 100
    counted = visual_reduction(VICUNA_7B, recipe.removed, recipe.num_visual_tokens)
    assert recipe.achieved_reduction == counted
    assert recipe.achieved_reduction == pytest.approx(figures["counted_reduction"], abs=5.1e-5)
    assert tokens_per_layer(recipe.removed, recipe.num_visual_tokens)[-1] == figures["left"]
    assert (recipe.procedure, recipe.alpha, recipe.num_samples) == ("published", None, None)
    assert recipe.model == MODELS[path.parent.name]
    assert re.search(r"github\.com/ywh187/FitPrune .*commit (d28e418|fcddfbd|582d2aa)", recipe.source)


def test_the_published_ten_percent_saves_six():
    assert published_recipes("llava-1.5-7b")[0].achieved_reduction == pytest.approx(0.0644, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava-1.5-7b"),
        ("/data/checkpoints/llava-1.5-7b-hf/", "llava-1.5-7b"),
        ("liuhaotian/llava-v1.5-7b", "llava-1.5-7b"),
        ("llava-hf/llava-v1.6-vicuna-7b-hf", "llava-next-7b"),
        ("favor123/llava-hr-7b-sft-1024", "llava-hr-7b-1024"),
        ("llava-hf/llava-v1.6-mistral-7b-hf", None),
        ("llava-hf/llava-1.5-13b-hf", None),
        ("..", None),
        ("", None),
        ("/", None),
    ],
)
def test_folder_of_a_checkpoint(name, folder):
    found = recipe_folder(name)
    assert (found.name if found else None) == folder
    assert bool(published_recipes(name)) == bool(folder)


def test_folders_of_other_places_are_found_by_name(tmp_path):
    (tmp_path / "my-llava").mkdir()
    (tmp_path / "a-file").touch()
    assert recipe_folder("me/My-LLaVA-hf", tmp_path) == tmp_path / "my-llava"
    assert recipe_folder("a-file", tmp_path) is None
    assert recipe_folder("my-llava", tmp_path / "absent") is None
    assert published_recipes("me/My-LLaVA-hf", tmp_path) == []


class TestInterpolation:
    @pytest.mark.slow
    @pytest.mark.parametrize("family", list(MODELS))
    def test_every_percent_is_met(self, family):
        published = published_recipes(family)
        for percent in range(1, 96):
            recipe = interpolate_published(published, percent / 100, VICUNA_7B)
            assert recipe.achieved_reduction == pytest.approx(percent / 100, abs=0.0006)
            assert recipe.achieved_reduction == visual_reduction(VICUNA_7B, recipe.removed, recipe.num_visual_tokens)
            assert recipe.procedure == "published"

    def test_lies_between_its_neighbours(self):
        published = {recipe.reduction: recipe for recipe in published_recipes("llava-1.5-7b")}
        mixed = interpolate_published(list(published.values()), 0.35, VICUNA_7B)
        for count, low, high in zip(mixed.removed, published[0.3].removed, published[0.4].removed, strict=True):
            assert min(low, high) - 2 <= count <= max(low, high) + 2
        assert "between the published 30% (which saves 27.9%) and the published 40% (which saves 38.8%)" in mixed.source
        assert "ywh187/FitPrune" in mixed.source

    def test_outside_the_published_budgets_it_says_so(self):
        published = published_recipes("llava-next-7b")
        assert (
            "between removing nothing and the published 40%" in interpolate_published(published, 0.2, VICUNA_7B).source
        )
        beyond = interpolate_published(published, 0.8, VICUNA_7B).source
        assert "between the published 60% (which saves 60.3%) and removing everything at once" in beyond

    def test_nothing_asked_is_nothing_removed(self):
        assert set(interpolate_published(published_recipes("llava-1.5-7b"), 0, VICUNA_7B).removed) == {0}

    @pytest.mark.parametrize("tokens", [1176, 2144, 2880])
    def test_other_token_counts_are_met_exactly_too(self, tokens):
        recipe = interpolate_published(published_recipes("llava-next-7b"), 0.5, VICUNA_7B, tokens)
        assert recipe.num_visual_tokens == tokens
        assert recipe.achieved_reduction == pytest.approx(0.5, abs=0.0006)

    @pytest.mark.parametrize(
        "counts", [[2886], pytest.param(range(1, 3001), marks=pytest.mark.slow)], ids=["rounded down", "all"]
    )
    def test_the_largest_budget_is_met_with_any_number_of_tokens(self, counts):
        published = published_recipes("llava-1.5-7b")
        for tokens in counts:
            most = largest_reduction(VICUNA_7B, tokens)
            recipe = interpolate_published(published, most, VICUNA_7B, tokens)
            assert (recipe.removed[0], recipe.achieved_reduction) == (tokens, most)

    def test_takes_a_configuration(self):
        config = LlamaConfig(vocab_size=32064)
        published = published_recipes("llava-1.5-7b")
        assert interpolate_published(published, 0.5, config) == interpolate_published(published, 0.5, VICUNA_7B)

    def test_another_depth_is_refused(self):
        with pytest.raises(ValueError, match="32 layers"):
            interpolate_published(published_recipes("llava-1.5-7b"), 0.5, LlamaConfig(num_hidden_layers=40))

    def test_budgets_that_cannot_be_are_refused(self):
        published = published_recipes("llava-1.5-7b")
        for reduction, message in ((0.999, "saves 0.99.. at most"), (-1, "share"), ("0.5", "share")):
            with pytest.raises(ValueError, match=message):
                interpolate_published(published, reduction, VICUNA_7B)
        with pytest.raises(ValueError, match="no published recipe"):
            interpolate_published([], 0.5, VICUNA_7B)
