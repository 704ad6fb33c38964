"""Painted tokens: what must stay stays at every layer, what must go goes first, and the work is the same."""

from __future__ import annotations

import pytest
import torch

from fitprune_core import METHODS, Way, build_inputs, compare, prune_visual_tokens
from fitprune_core.pruning.paint import Paint
from fitprune_core.recipes.schedules import Drops
from tests.pruned import batch_of, recipe_of
from tests.reference import masked_logits
from tests.tiny import random_picture

pytestmark = pytest.mark.usefixtures("no_grad")
QUESTION = "what is this?"
RECIPE = recipe_of((9, 6, 0, 5))
STAY, GO = (0, 7, 8, 21, 35), (3, 4, 30)


def reached(trace) -> list[set[int]]:
    """What enters the first layer, and what leaves each."""
    before = range(36) if trace.kept_before is None else trace.kept_before.tolist()
    return [set(before), *[set(kept.tolist()) for kept in trace.kept]]


@pytest.mark.parametrize("method", list(METHODS))
def test_painted_tokens_stay_or_go_first_and_as_many_go_as_ever(tiny, inputs, method):
    model, _ = tiny
    with prune_visual_tokens(model, RECIPE, method=method) as plain:
        model(**inputs)
    with prune_visual_tokens(model, RECIPE, method=method, stay=STAY, go=GO) as trace:
        model(**inputs)
    assert [len(kept) for kept in reached(trace)] == [len(kept) for kept in reached(plain)]
    assert all(kept >= set(STAY) for kept in reached(trace))
    first = next(kept for kept in reached(trace) if len(kept) < 36)
    assert not first & set(GO)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_others_keep_the_methods_order(tiny, inputs, method):
    """At the first drop what is not painted goes in the order in which it went, or would have gone, unpainted."""
    model, _ = tiny
    dropped = []
    for recipe, paint in ((recipe_of((12, 0, 0, 0)), {}), (recipe_of((15, 0, 0, 0)), {"stay": STAY, "go": GO})):
        with prune_visual_tokens(model, recipe, method=method, **paint) as trace:
            model(**inputs)
        parts = [trace.dropped_before, *trace.dropped]
        dropped.append([part.tolist() for part in parts if part is not None and len(part)])
    if method == "uniform" or len(dropped[0]) > 1 or len(dropped[1]) > 1 or method == "divprune":
        return  # its ranking depends on how many stay, or single tokens went at other layers
    free = [token for token in dropped[0][0] if token not in STAY + GO]
    assert sorted(dropped[1][0][:3]) == sorted(GO)
    assert [token for token in dropped[1][0] if token not in GO][: len(free)] == free


def test_logits_are_those_of_the_masked_model(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, RECIPE, stay=STAY, go=GO) as trace:
        logits = model(**inputs).logits[0, -1]
    assert (logits - masked_logits(model, inputs, trace.kept)[0, -1]).abs().max() < 1e-4


def test_nothing_painted_changes_nothing(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, RECIPE):
        plain = model(**inputs).logits
    with prune_visual_tokens(model, RECIPE, stay=(), go=()):
        assert torch.equal(model(**inputs).logits, plain)


def test_every_sample_of_a_batch_is_painted(tiny):
    model, processor = tiny
    batch, _ = batch_of(processor, ["what is this?", "and this?"])
    with prune_visual_tokens(model, RECIPE, stay=STAY, go=GO) as trace:
        model(**batch)
    for row in trace.kept[-1].tolist():
        assert set(STAY) <= set(row) and not set(GO) & set(row)


def test_more_must_go_than_a_layer_drops(tiny, inputs):
    model, _ = tiny
    go = tuple(range(12))
    with prune_visual_tokens(model, RECIPE, go=go) as trace:
        model(**inputs)
    assert set(trace.dropped[0].tolist()) < set(go) and not set(trace.kept[1].tolist()) & set(go)


def test_a_comparison_says_what_was_painted_and_costs_the_same(tiny):
    options = {"max_new_tokens": 3, "repeats": 0}
    against = Way.of(RECIPE, "fitprune")
    found = compare(*tiny, random_picture(), QUESTION, RECIPE, against=against, stay=STAY, go=GO, **options)
    assert (found.stay, found.go, found.against.stay) == (STAY, GO, ())
    assert found.pruned.visual_gflops == found.original.visual_gflops and found.removed == found.against.removed
    assert all(set(STAY) <= set(kept) for kept in found.kept)
    entries = found.to_json()
    assert (entries["stay"], entries["go"], entries["against"]["stay"]) == (list(STAY), list(GO), [])


@pytest.mark.parametrize(
    ("paint", "words"),
    [
        ({"stay": range(17)}, "17 visual tokens must stay, but layer 4 leaves 16"),
        ({"stay": [36]}, "visual token 36 must stay, but this picture has 36, from 0 up"),
        ({"go": [36], "stay": [3]}, "visual token 36 must go first, but this picture has 36"),
        ({"go": [-1]}, "go holds visual token -1"),
        ({"stay": [1, 2], "go": [2]}, "visual token 2 must both stay and go"),
        ({"stay": ["a"]}, "stay is a list of visual tokens"),
        ({"stay": [1.5]}, "stay is a list of visual tokens"),
    ],
)
def test_what_cannot_be_painted_is_refused(tiny, inputs, paint, words):
    model, processor = tiny
    with pytest.raises(ValueError, match=words), prune_visual_tokens(model, RECIPE, **paint):
        model(**inputs)
    with pytest.raises(ValueError, match=words):
        compare(model, processor, random_picture(), QUESTION, RECIPE, **paint)


def test_a_method_that_keeps_nothing_to_the_end_says_so(tiny):
    with pytest.raises(ValueError, match="1 visual tokens must stay, but layer . leaves 0"):
        compare(*tiny, random_picture(), QUESTION, recipe_of((26, 6, 2, 0)), method="fitprune+", stay=[3])


def test_the_original_cannot_be_painted(tiny):
    with pytest.raises(ValueError, match="nothing is pruned here"):
        compare(*tiny, random_picture(), QUESTION, RECIPE, method="original", stay=[3])


def test_what_is_painted_of_another_picture_is_refused_when_it_comes(tiny):
    model, processor = tiny
    recipe = recipe_of((18, 12, 0, 10), num_visual_tokens=72)
    inputs = build_inputs(processor, random_picture(), QUESTION)
    with pytest.raises(ValueError, match="this picture has 36"), prune_visual_tokens(model, recipe, stay=[60]):
        model(**inputs)


def test_numbers_are_kept_once_and_ascending():
    assert Paint((5, 1, 5), (9, 2)) == Paint((1, 5), (2, 9))
    Paint((0, 1)).check(Drops(30, (4, 0)), 36)
    with pytest.raises(ValueError, match="what enters layer 1 is 1"):
        Paint((0, 1)).check(Drops(35, (0, 0)), 36)
