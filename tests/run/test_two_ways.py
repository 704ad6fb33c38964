"""A comparison of any two ways: each side is what the model does in that way, and both are told of in full."""

from __future__ import annotations

import json

import pytest
import torch

from fitprune_core import DecoderGeometry, Way, prune_visual_tokens
from fitprune_core.models.prompts import build_inputs
from fitprune_core.report.export import export_comparison
from fitprune_core.report.reading import read_export
from fitprune_core.report.trace import trace_of
from fitprune_core.run.comparison import compare
from tests.pruned import recipe_of
from tests.tiny import random_picture

QUESTION = "What is this?"
RECIPE = recipe_of((9, 6, 0, 5))


def asked(tiny, first, method="fitprune", recipe=RECIPE):
    options = {"against": first, "method": method, "max_new_tokens": 6, "repeats": 0}
    return compare(*tiny, random_picture(), QUESTION, recipe, **options)


def answer_and_trace(tiny, recipe, method):
    model, processor = tiny
    inputs = build_inputs(processor, random_picture(), QUESTION)
    with prune_visual_tokens(model, recipe, method=method) as trace, torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    return ids.tolist(), text, [kept.tolist() for kept in trace.kept]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("random:seed=3", "fitprune"), ("fitprune", "fastv")])
def test_each_side_is_what_its_method_does(tiny, first, second):
    found = asked(tiny, Way.of(RECIPE, first), second)
    for run, side, method in ((found.original, found.against, first), (found.pruned, found, second)):
        ids, text, kept = answer_and_trace(tiny, RECIPE, method)
        assert run.answer == text and list(run.token_ids) == ids
        assert [list(tokens) for tokens in side.kept] == kept
        assert [len(tokens) for tokens in side.kept] == [sum(d > n for d in side.dropped_after) for n in range(4)]


def test_two_rankings_at_one_budget_do_equal_work(tiny):
    found = asked(tiny, Way.of(RECIPE, "random"))
    assert found.original.visual_gflops == found.pruned.visual_gflops
    assert (found.against.method, found.method) == ("random", "fitprune")
    assert found.against.kept != found.kept


def test_budgets_may_differ(tiny):
    light = recipe_of((3, 0, 0, 0))
    found = asked(tiny, Way.of(light, "fitprune"))
    assert found.against.removed == light.removed and found.removed == RECIPE.removed
    assert found.original.visual_gflops > found.pruned.visual_gflops


def test_the_original_may_come_second(tiny):
    found, usual = asked(tiny, Way.of(RECIPE, "fitprune"), "original"), asked(tiny, Way())
    assert found.pruned.answer == usual.original.answer and found.original.answer == usual.pruned.answer
    assert (found.method, found.num_dropped, found.achieved_reduction) == ("original", 0, 0.0)
    assert found.against.kept == usual.kept and usual.against is None
    geometry = DecoderGeometry.from_config(tiny[0].config)
    drawn = trace_of(found, random_picture(), geometry)
    assert drawn["against"] is None and drawn["dropped_after"] == list(usual.dropped_after)


def test_a_recipe_of_another_depth_is_refused_on_either_side(tiny):
    for sides in ((Way.of(recipe_of((1, 1)), "random"), RECIPE), (Way(), recipe_of((1, 1)))):
        with pytest.raises(ValueError, match="2 layers"):
            asked(tiny, sides[0], recipe=sides[1])


def test_pieces_spell_the_answer(tiny):
    found = asked(tiny, Way.of(RECIPE, "random"))
    for run in (found.original, found.pruned):
        assert len(run.pieces) == len(run.token_ids) == run.new_tokens
        assert "".join(run.pieces) == run.answer.rstrip("\ufffd")


@pytest.mark.parametrize("name", ["c.html", "c.json"])
def test_both_sides_are_exported_and_read_back(tiny, tmp_path, name):
    found, geometry = asked(tiny, Way.of(RECIPE, "random")), DecoderGeometry.from_config(tiny[0].config)
    export_comparison(found, random_picture(), geometry, tmp_path / name)
    comparison, trace = read_export(tmp_path / name)
    assert comparison == found and json.loads(json.dumps(found.to_json()))["against"]["method"] == "random"
    for side, drawn in ((found, trace), (found.against, trace["against"])):
        assert drawn["tokens"] == [len(tokens) for tokens in side.kept]
        assert drawn["dropped_after"] == list(side.dropped_after)
