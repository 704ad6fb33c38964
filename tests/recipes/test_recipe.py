from __future__ import annotations

import dataclasses
import json
import re
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.recipes.recipe import PruningRecipe, check_share, same_checkpoint
from fitprune_core.recipes.statistics import AttentionStatistics
from fitprune_core.recipes.store import recipe_for

GEOMETRY = DecoderGeometry(4, 64, 160, 64, 64, 100)


def recipe(**changes) -> PruningRecipe:
    usual = {
        "model": "mini-llava",
        "num_layers": 4,
        "num_visual_tokens": 36,
        "reduction": 0.4,
        "achieved_reduction": 0.401,
        "removed": (10, 3, 0, 8),
        "alpha": 0.25,
        "num_samples": 64,
        "procedure": "statistics",
        "attention": "both",
        "source": "a test",
    }
    return PruningRecipe(**{**usual, **changes})


class TestFile:
    def test_round_trip(self, tmp_path):
        path = tmp_path / "new folder" / "40.json"
        recipe().save(path)
        assert PruningRecipe.load(path) == recipe()
        assert [p.name for p in path.parent.iterdir()] == ["40.json"]

    def test_fields_are_those_of_schema_1(self, tmp_path):
        recipe(alpha=None, num_samples=None).save(tmp_path / "r.json")
        entries = json.loads((tmp_path / "r.json").read_text())
        assert entries == {
            "schema": 1, "model": "mini-llava", "num_layers": 4, "num_visual_tokens": 36, "reduction": 0.4,
            "achieved_reduction": 0.401, "removed": [10, 3, 0, 8], "alpha": None, "num_samples": None,
            "procedure": "statistics", "attention": "both", "source": "a test",
        }  # fmt: skip

    def test_one_field_a_line(self, tmp_path):
        recipe().save(tmp_path / "r.json")
        lines = (tmp_path / "r.json").read_text().splitlines()
        assert len(lines) == 2 + 12
        assert '  "removed": [10, 3, 0, 8],' in lines

    def test_saving_replaces(self, tmp_path):
        recipe().save(tmp_path / "r.json")
        recipe(source="again").save(str(tmp_path / "r.json"))
        assert PruningRecipe.load(str(tmp_path / "r.json")).source == "again"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"schema": 2}, "schema is 2.*schema 1"),
            ({"schema": None}, "schema is None"),
            ({"schema": True}, "schema is True"),
            ({"model": 7}, "model.*7"),
            ({"model": ""}, "model.*''"),
            ({"num_layers": 3}, "removed has 4 entries; a model of 3 layers needs 3"),
            ({"num_layers": 0}, "num_layers.*0"),
            ({"num_layers": "4"}, "num_layers.*'4'"),
            ({"num_visual_tokens": 20}, "adds up to 21 visual tokens, but there are only 20"),
            ({"num_visual_tokens": -1}, "num_visual_tokens.*-1"),
            ({"num_visual_tokens": 36.0}, "num_visual_tokens.*36.0"),
            ({"reduction": 60}, "reduction.*60; 60 % is written 0.6"),
            ({"reduction": -0.1}, "reduction.*-0.1"),
            ({"reduction": 1.0}, "reduction.*1.0"),
            ({"reduction": "0.4"}, "reduction.*'0.4'"),
            ({"reduction": float("nan")}, "reduction.*nan"),
            ({"achieved_reduction": None}, "achieved_reduction.*None"),
            ({"removed": [10, 3, 0]}, "removed has 3 entries"),
            ({"removed": [10, 3, 0, -8]}, r"removed\[3\] is -8"),
            ({"removed": [10, 3.0, 0, 8]}, r"removed\[1\] is 3.0"),
            ({"removed": [10, None, 0, 8]}, r"removed\[1\] is None"),
            ({"removed": [True, 3, 0, 8]}, r"removed\[0\] is True"),
            ({"removed": 21}, "removed must be a list.*21"),
            ({"removed": "10308"}, "removed must be a list"),
            ({"alpha": 1.5}, "alpha.*1.5"),
            ({"alpha": "small"}, "alpha"),
            ({"num_samples": 0}, "num_samples.*0"),
            ({"procedure": "guess"}, "procedure is 'guess'.*statistics, sequential, published"),
            ({"attention": "neither"}, "attention is 'neither'.*both, self, cross"),
            ({"attention": ["both"]}, r"attention is \['both'\]"),
            ({"source": None}, "source.*None"),
            ({"image_aspect": "square"}, "image_aspect is 'square'.*crop, pad, stretch, anyres, native"),
        ],
    )
    def test_wrong_fields_are_named_with_the_file(self, tmp_path, changes, message):
        path = tmp_path / "wrong.json"
        path.write_text(json.dumps({**recipe().to_dict(), **changes}))
        with pytest.raises(ValueError, match=rf"wrong\.json: .*{message}"):
            PruningRecipe.load(path)

    @pytest.mark.parametrize("aspect", ["crop", "pad", "stretch", "anyres", "native"])
    def test_image_aspect_is_kept_where_it_is_known(self, tmp_path, aspect):
        recipe(image_aspect=aspect).save(tmp_path / "r.json")
        assert PruningRecipe.load(tmp_path / "r.json").image_aspect == aspect
        assert PruningRecipe.from_dict(recipe().to_dict()).image_aspect is None

    @pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(PruningRecipe) if f.name != "image_aspect"])
    def test_missing_fields_are_named(self, name):
        entries = recipe().to_dict()
        del entries[name]
        with pytest.raises(ValueError, match=f"has no {name}"):
            PruningRecipe.from_dict(entries)

    def test_a_recipe_without_a_schema_is_told_so(self):
        entries = recipe().to_dict()
        del entries["schema"]
        with pytest.raises(ValueError, match="it says no schema; this version reads schema 1"):
            PruningRecipe.from_dict(entries)

    @pytest.mark.parametrize("text", ["", "[1, 2]", "{", "null", '"recipe"', "\x00\xff"])
    def test_what_is_no_recipe_at_all(self, tmp_path, text):
        path = tmp_path / "odd.json"
        path.write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"odd\.json"):
            PruningRecipe.load(path)

    @pytest.mark.parametrize("text", ["{}", '{"name": "x"}', "[1, 2]", "null"])
    def test_json_of_something_else_is_called_no_recipe(self, tmp_path, text):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.json is not a recipe: it has neither schema nor removed"):
            PruningRecipe.load(tmp_path / "bad.json")

    @pytest.mark.parametrize("given", [{"a": 1}, None, 3])
    def test_what_is_no_path_is_refused(self, given):
        words = re.escape(f"recipe is {given}; give a path")
        with pytest.raises(ValueError, match=words):
            PruningRecipe.load(given)
        with pytest.raises(ValueError, match=words.replace("recipe", "statistics")):
            AttentionStatistics.load(given)
        with pytest.raises(ValueError, match=words.replace("recipe", "recipes")):
            recipe_for("mini-llava", 0.5, recipes=given)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(ValueError, match=r"cannot read recipe .*absent\.json: No such file"):
            PruningRecipe.load(tmp_path / "absent.json")
        with pytest.raises(ValueError, match="cannot read recipe"):
            PruningRecipe.load(tmp_path)


class TestRecipe:
    def test_is_frozen_and_hashable(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            recipe().removed = (0, 0, 0, 0)
        assert hash(recipe()) == hash(recipe())

    def test_numpy_values_become_plain_ones(self):
        made = recipe(removed=np.array([10, 3, 0, 8]), num_layers=np.int64(4), alpha=np.float32(0.25))
        assert made == recipe()
        assert {type(count) for count in made.removed} == {int}
        json.dumps(made.to_dict())

    def test_empty(self):
        empty = PruningRecipe.empty(4, 36, "mini-llava")
        assert empty.removed == (0, 0, 0, 0)
        assert empty.reduction == empty.achieved_reduction == 0.0
        assert PruningRecipe.from_dict(empty.to_dict()) == empty

    def test_all_tokens_may_go_but_not_one_more(self):
        assert recipe(removed=(36, 0, 0, 0)).removed[0] == 36
        with pytest.raises(ValueError, match="37"):
            recipe(removed=(36, 0, 0, 1))

    @pytest.mark.parametrize("value", [True, "0.5", None, [0.5], float("inf"), -1e-9, 1, 95])
    def test_shares_that_cannot_be(self, value):
        with pytest.raises(ValueError, match="reduction must be a share"):
            check_share("reduction", value)

    def test_shares_that_can_be(self):
        assert check_share("reduction", np.float64(0.37)) == 0.37
        assert check_share("reduction", 0) == 0.0


class TestScaling:
    @pytest.mark.parametrize("tokens", [1, 7, 35, 37, 72, 144, 1000, 2880])
    def test_cumulative_removal_is_scaled_and_rounded(self, tokens):
        scaled = recipe().scaled_to(tokens)
        ours, theirs = accumulate(recipe().removed), accumulate(scaled.removed)
        assert all(abs(b - a * tokens / 36) <= 0.5 for a, b in zip(ours, theirs, strict=True))
        assert scaled.num_visual_tokens == tokens
        assert "from 36 to" in scaled.source
        assert scaled.source.startswith("a test")

    def test_same_count_is_the_same_recipe(self):
        assert recipe().scaled_to(36) == recipe()

    def test_there_and_back(self):
        assert recipe().scaled_to(360).scaled_to(36).removed == recipe().removed

    def test_achieved_reduction_is_counted_anew_with_a_configuration(self):
        scaled = recipe().scaled_to(144, GEOMETRY)
        assert scaled.achieved_reduction == visual_reduction(GEOMETRY, scaled.removed, 144)
        assert recipe().scaled_to(144).achieved_reduction == recipe().achieved_reduction

    @pytest.mark.parametrize("percent", ["40", "60"])
    def test_nearer_to_the_share_than_rounding_each_layer_down(self, percent):
        published = json.loads((Path(__file__).parent.parent / "data" / "published_recipes.json").read_text())
        counts = published["models"]["llava-next-7b"]["recipes"][percent]["removed"]
        geometry = DecoderGeometry(32, 4096, 11008, 4096, 4096, 32064)
        next_recipe = recipe(num_layers=32, num_visual_tokens=2880, removed=counts)
        exact = [count * 1176 / 2880 for count in counts]
        floored = [int(count) for count in exact]
        scaled = next_recipe.scaled_to(1176).removed
        assert abs(sum(scaled) - sum(exact)) <= 0.5 < sum(exact) - sum(floored)
        # The share moves a little with the token count because attention is quadratic; rounding adds next to nothing.
        saved = [visual_reduction(geometry, counts, 1176) for counts in (scaled, floored)]
        assert saved[0] - saved[1] > 0.005

    @pytest.mark.parametrize("tokens", [0, -5, 3.5, None, True])
    def test_impossible_counts(self, tokens):
        with pytest.raises(ValueError, match="num_visual_tokens"):
            recipe().scaled_to(tokens)


class TestModel:
    def test_another_depth_is_refused(self):
        with pytest.raises(ValueError, match=r"mini-llava, which has 4 layers; llava-1\.5-7b has 32"):
            recipe().check_model(32, "llava-1.5-7b")

    def test_another_checkpoint_is_warned_about(self):
        warnings = recipe().warnings_for("someone/other-llava")
        assert warnings == ("the recipe was fitted on mini-llava and is applied to someone/other-llava",)

    @pytest.mark.parametrize("name", ["mini-llava", "/models/mini-llava/", "a\\b\\Mini-LLaVA", "owner/mini-llava-hf"])
    def test_the_same_checkpoint_is_not(self, name):
        assert recipe().warnings_for(name) == ()

    @pytest.mark.parametrize(
        ("ours", "theirs", "count"), [("pad", "crop", 1), ("pad", "pad", 0), (None, "crop", 0), ("pad", None, 0)]
    )
    def test_another_aspect_is_warned_about_where_both_are_known(self, ours, theirs, count):
        warnings = dataclasses.replace(recipe(), image_aspect=ours).warnings_for("mini-llava", theirs)
        assert len(warnings) == count
        assert all("aspect 'pad'; this model gets them as 'crop'" in warning for warning in warnings)

    def test_names(self):
        assert same_checkpoint("llava-hf/llava-1.5-7b-hf", "llava-1.5-7b")
        assert not same_checkpoint("llava-hf/llava-1.5-13b-hf", "llava-1.5-7b")
        assert same_checkpoint("llava-hf/llava-v1.6-vicuna-7b-hf", "liuhaotian/llava-v1.6-7b")
        assert not same_checkpoint("llava-hf/llava-v1.6-mistral-7b-hf", "llava-next-7b")


def test_a_recipe_that_removes_tokens_says_what_was_asked_for():
    """At a reduction of 0 evaluate would answer unpruned, whatever it removes."""
    with pytest.raises(ValueError, match=r"reduction is 0, but removed is \[10, 3, 0, 8\]"):
        recipe(reduction=0)
    assert recipe(reduction=0, removed=(0, 0, 0, 0)).reduction == 0
