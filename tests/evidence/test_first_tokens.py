"""What is looked at of a first token, against definitions and the model itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.evidence.bench import variant
from app.evidence.first_tokens import COLUMNS, first_tokens
from app.evidence.questions import CALIBRATION, FEW
from fitprune_core import prune_visual_tokens
from fitprune_core.run.answer import UNPRUNED, Way
from fitprune_core.run.next_tokens import divergence, margin, next_token
from fitprune_core.samples.files import read_samples
from fitprune_core.samples.loop import prompt_of


@pytest.mark.slow
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


@pytest.mark.slow
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
