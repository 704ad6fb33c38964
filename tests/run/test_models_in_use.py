"""What answers and measures, given a model that is being pruned already, or one that torch.compile has wrapped."""

from __future__ import annotations

import json

import pytest
import torch

from fitprune_core import (
    AttentionStatistics,
    build_inputs,
    calibrate,
    collect_statistics,
    compare,
    evaluate,
    fit_recipe_sequential,
    prune_visual_tokens,
)
from fitprune_core.run.answer import UNPRUNED, answer, prepare
from fitprune_core.run.decoding import Decoding
from tests.pruned import recipe_of, state_of
from tests.tiny import random_picture, tiny_llava

PAIRS = [(random_picture(), "what?")]


def _evaluate(model, processor, folder):
    scores = evaluate(
        model, processor, folder / "s.jsonl", [0.5], lambda _: recipe_of(), folder / "r.csv", max_new_tokens=3
    )
    return scores, (folder / "r.csv").read_text()


def _calibrate(model, processor, folder):
    calibrate(model, processor, folder / "s.jsonl", folder / "s.npz")
    statistics = AttentionStatistics.load(folder / "s.npz")
    return statistics.model, statistics.self_attention.tolist(), statistics.cross_attention.tolist()


def _collect(model, processor, folder):
    statistics = collect_statistics(model, processor, PAIRS)
    return statistics.model, statistics.self_attention.tolist(), statistics.cross_attention.tolist()


def _compare(model, processor, folder):
    result = compare(model, processor, *PAIRS[0], recipe_of(), max_new_tokens=3, repeats=1)
    return result.model, result.kept, result.original.answer, result.pruned.answer


def _answer(model, processor, folder):
    (given,) = answer(model, processor, [prepare(model, processor, *PAIRS[0])], UNPRUNED, Decoding(3))
    return given.token_ids, given.cost


WORK = {
    "evaluate": _evaluate,
    "calibrate": _calibrate,
    "collect_statistics": _collect,
    "fit_recipe_sequential": lambda model, processor, _: fit_recipe_sequential(model, processor, PAIRS, 0.3),
    "compare": _compare,
    "answer": _answer,
}


@pytest.fixture
def folder(tmp_path):
    """A samples file of one picture."""
    random_picture().save(tmp_path / "p.png")
    (tmp_path / "s.jsonl").write_text(json.dumps({"id": "1", "image": "p.png", "question": "what?", "answer": "x"}))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_inside_a_block_it_is_refused_and_the_block_goes_on(tiny, folder, name):
    """On this thread it would be pruned along; on a thread of its own it would wait for ever."""
    model, processor = tiny
    inputs = build_inputs(processor, random_picture(), "what?")
    with torch.no_grad(), prune_visual_tokens(model, recipe_of()) as trace:
        expected = model(**inputs).logits
        with pytest.raises(ValueError, match="being pruned or measured already"):
            WORK[name](model, processor, folder)
        assert sorted(path.name for path in folder.iterdir()) == ["p.png", "s.jsonl"]
        assert torch.equal(model(**inputs).logits, expected) and len(trace.kept[-1]) == 10
    WORK[name](model, processor, folder)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["torch.compile(model)", "model.compile()"])
@pytest.mark.parametrize("name", WORK)
def test_a_compiled_model_gives_what_the_model_gives(folder, name, way):
    """Uncompiled, so that the original and the pruned run differ by pruning alone; and it stays compiled."""
    model, processor = tiny_llava()
    (folder / "plain").mkdir()
    for file in ("p.png", "s.jsonl"):
        (folder / "plain" / file).write_bytes((folder / file).read_bytes())
    expected = WORK[name](model, processor, folder / "plain")
    runs = []

    def backend(graph, example_inputs):
        return lambda *inputs: runs.append(1) or graph(*inputs)

    torch._dynamo.reset()
    compiled = model
    if way == "model.compile()":
        model.compile(backend=backend)
    else:
        compiled = torch.compile(model, backend=backend)
    calls, before = [module._compiled_call_impl for module in model.modules()], state_of(model)
    assert WORK[name](compiled, processor, folder) == expected
    assert not runs
    assert [module._compiled_call_impl for module in model.modules()] == calls and state_of(model) == before
    torch._dynamo.reset()
