"""Next tokens and where a token looks, against plain transformers: its softmax, its maps, and its masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fitprune_core import build_inputs, prune_visual_tokens
from fitprune_core.run.answer import UNPRUNED, Way
from fitprune_core.run.comparison import compare
from fitprune_core.run.looking import SHOWN, look
from fitprune_core.run.next_tokens import divergence, likeliest, margin, next_token
from tests.pruned import DECODERS, recipe_of, state_of
from tests.reference import masked_logits
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")
QUESTION = "what is this?"
RECIPE = recipe_of((9, 6, 0, 5))
WORDS = [(), (70,), (70, 81, 92, 33)]


def test_the_margin_is_between_the_two_likeliest():
    assert margin(np.array([0.1, 0.5, 0.15, 0.25])) == pytest.approx(0.25)
    assert margin(np.array([0.5, 0.5])) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_the_divergence_is_the_mean_distance_to_the_middle_in_bits(seed):
    one, other = np.random.default_rng(seed).dirichlet([0.3] * 6, 2)
    middle = (one + other) / 2
    expected = sum(
        sum(p * math.log2(p / m) for p, m in zip(side, middle, strict=True) if p > 0) / 2 for side in (one, other)
    )
    assert divergence(one, other) == pytest.approx(expected, abs=1e-9)
    assert divergence(one, one) == pytest.approx(0.0, abs=1e-12)
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)


def test_the_likeliest_come_in_order():
    assert likeliest(np.array([0.1, 0.5, 0.15, 0.25]), 2) == [(1, 0.5), (3, 0.25)]


@pytest.fixture(params=DECODERS)
def eager(request):
    """A model whose own maps can be had, its processor, and a prompt."""
    model, processor = tiny_llava(decoder=request.param, num_key_value_heads=2, attention="eager")
    return model, processor, build_inputs(processor, random_picture(), QUESTION)


def after(inputs, words):
    ids = torch.cat([inputs["input_ids"], torch.tensor([list(words)], dtype=torch.long)], dim=1)
    return {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.slow
@pytest.mark.parametrize("words", WORDS)
def test_the_original_is_plain_transformers(eager, words):
    model, processor, inputs = eager
    found = look(model, processor, random_picture(), QUESTION, (UNPRUNED, Way.of(RECIPE, "fitprune")), words)
    plain = model(**after(inputs, words), output_attentions=True)
    expected = torch.softmax(plain.logits[0, -1].double(), -1)
    values, ids = expected.topk(SHOWN)
    assert [token for _, token, _ in found.sights[0].likeliest] == ids.tolist()
    assert [share for *_, share in found.sights[0].likeliest] == pytest.approx(values.tolist(), abs=1e-6)
    assert found.sights[0].margin == pytest.approx(float(values[0] - values[1]), abs=1e-6)
    visual = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    maps = np.stack([layer[0].mean(dim=0)[-1, visual].numpy() for layer in plain.attentions])
    assert np.abs(found.sights[0].attention - maps).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("method", ["fitprune", "fastv:layer=2", "divprune"])
def test_the_pruned_one_is_a_plain_model_with_dropped_columns_masked(tiny, words, method):
    model, processor = tiny
    inputs, way = build_inputs(processor, random_picture(), QUESTION), Way.of(RECIPE, method)
    found = look(model, processor, random_picture(), QUESTION, (UNPRUNED, way), words)
    with prune_visual_tokens(model, RECIPE, method=method) as trace:
        model(**inputs)
    logits = masked_logits(model, inputs, trace.kept, words, trace.kept_before)[0, -1]
    expected = torch.softmax(logits.double(), -1).numpy()
    assert np.abs(next_token(model, inputs, way, words) - expected).max() < 1e-5
    told = {token: share for _, token, share in found.sights[1].likeliest}
    assert all(share == pytest.approx(expected[token], abs=1e-5) for token, share in told.items())
    plain = torch.softmax(model(**after(inputs, words)).logits[0, -1].double(), -1).numpy()
    assert found.divergence == pytest.approx(divergence(plain, expected), abs=1e-5)
    arriving = [trace.kept_before, *trace.kept[:-1]]
    for layer, tokens in enumerate(arriving):
        there = np.isfinite(found.sights[1].attention[layer]).nonzero()[0].tolist()
        assert there == (list(range(36)) if tokens is None else tokens.tolist())


def test_a_pruned_prompts_attention_is_that_of_its_own_maps(eager):
    model, processor, inputs = eager
    found = look(model, processor, random_picture(), QUESTION, (UNPRUNED, Way.of(RECIPE, "fitprune")))
    first = int((inputs["input_ids"][0] == model.config.image_token_id).nonzero()[0])
    with prune_visual_tokens(model, RECIPE) as trace:
        maps = model(**inputs, output_attentions=True).attentions
    alive = list(range(36))
    for layer, kept in enumerate(trace.kept):
        row = maps[layer][0].mean(dim=0)[-1, first : first + len(alive)].numpy()
        assert np.abs(found.sights[1].attention[layer, alive] - row).max() < 1e-6
        alive = kept.tolist()


@pytest.mark.slow
def test_the_next_token_is_the_one_that_the_answer_has(tiny):
    model, processor = tiny
    way = Way.of(RECIPE, "random")
    answers = compare(model, processor, random_picture(), QUESTION, RECIPE, against=way, max_new_tokens=5, repeats=0)
    ways = (way, Way.of(RECIPE, "fitprune"))
    for side, run in enumerate((answers.original, answers.pruned)):
        for at in range(run.new_tokens):
            found = look(model, processor, random_picture(), QUESTION, ways, run.token_ids[:at])
            assert found.sights[side].likeliest[0][1] == run.token_ids[at]


def test_nothing_is_left_behind_and_what_cannot_be_is_refused(tiny):
    model, processor = tiny
    before, ways = state_of(model), (UNPRUNED, Way.of(RECIPE, "fitprune"))
    look(model, processor, random_picture(), QUESTION, ways, (70,))
    assert state_of(model) == before
    with pytest.raises(ValueError, match="numbers from 0 to"):
        look(model, processor, random_picture(), QUESTION, ways, (10**9,))
    with pytest.raises(ValueError, match="question is empty"):
        look(model, processor, random_picture(), " ", ways)
    with prune_visual_tokens(model, RECIPE), pytest.raises(ValueError, match="pruned or measured already"):
        look(model, processor, random_picture(), QUESTION, ways)
    assert state_of(model) == before
