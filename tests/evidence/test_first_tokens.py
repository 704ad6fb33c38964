"""What is looked at of a first token, against definitions and the model itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from app.evidence.bench import variant
from app.evidence.first_tokens import COLUMNS, divergence, first_tokens, margin, next_token
from app.evidence.questions import CALIBRATION, FEW
from fitprune_core import prune_visual_tokens
from fitprune_core.run.answer import UNPRUNED, Way
from fitprune_core.samples.files import read_samples
from fitprune_core.samples.loop import prompt_of


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


def test_first_tokens_are_those_of_both_models(make_bench, tiny, no_grad):
    bench = make_bench()
    (recipe,) = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), [0.6])
    each = variant("fitprune", recipe)
    rows = first_tokens(bench, bench.sets[FEW], [each])
    assert [set(row) for row in rows] == [set(COLUMNS)] * bench.plan.few
    model, processor = tiny
    for row, sample in zip(rows, read_samples(bench.sets[FEW].file), strict=True):
        prompt = prompt_of(model, processor, sample)
        plain = torch.softmax(model(**prompt).logits[0, -1].double(), -1).numpy()
        with prune_visual_tokens(model, recipe):
            pruned = torch.softmax(model(**prompt).logits[0, -1].double(), -1).numpy()
        assert row["margin_original"] == pytest.approx(margin(plain), abs=1e-6)
        assert row["margin_pruned"] == pytest.approx(margin(pruned), abs=1e-6)
        assert row["divergence"] == pytest.approx(divergence(plain, pruned), abs=1e-6)
        assert np.abs(next_token(model, prompt, UNPRUNED) - plain).max() < 1e-6
        assert np.abs(next_token(model, prompt, Way(recipe, each.method)) - plain).max() > 1e-6


def test_they_are_looked_at_once(make_bench, monkeypatch):
    bench = make_bench()
    one, other = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), [0.4, 0.6])
    first = first_tokens(bench, bench.sets[FEW], [variant("fitprune", one)])
    looked = []
    monkeypatch.setattr(
        "app.evidence.first_tokens.next_token", lambda *args: looked.append(args[2]) or next_token(*args)
    )
    assert first_tokens(bench, bench.sets[FEW], [variant("fitprune", one)]) == first and looked == []
    first_tokens(bench, bench.sets[FEW], [variant("fitprune", one), variant("fitprune", other)])
    assert [way.recipe for way in looked] == [None, other] * bench.plan.few
