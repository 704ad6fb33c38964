"""Batches: the same answers as one prompt at a time, whatever is padded; what goes together; memory that runs out."""

from __future__ import annotations

import logging

import pytest
import torch

from app.demo_model.samples import drawn_samples
from fitprune_core import PruningRecipe, load_model, prune_visual_tokens
from fitprune_core.models.family import visual_mask
from fitprune_core.models.loading import MINI_LLAVA
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.pruning.methods import find_method
from fitprune_core.recipes.published import RECIPES
from fitprune_core.run.answer import UNPRUNED, Way, answer, prepare
from fitprune_core.run.batch import BatchSize, fitting, in_batches, kind_of, padded_together
from fitprune_core.run.decoding import Decoding
from tests.marks import slow
from tests.pruned import recipe_of
from tests.tiny import random_picture, tiny_llava

QUESTIONS = ["What is it?", "Which colour has the large one?", "How many?", "Why?", "Is there a key in it?", "Who?",
             "What stands beside the smallest of them?", "Where is it?"]  # fmt: skip
SIZES = [1, 3, 8]


def in_parts(model, processor, prompts, way, size, decoding):
    """The answers, as token ids, of prompts taken `size` at a time."""
    found = []
    for at in range(0, len(prompts), size):
        found += [each.token_ids for each in answer(model, processor, prompts[at : at + size], way, decoding)]
    return found


@pytest.fixture(scope="module", params=[("llava", "llama"), *slow(("llava", "qwen2"), ("llava_next", "mistral"))])
def prompts(request):
    """A tiny model, its processor, and eight prompts of unequal length with pictures of their own."""
    family, decoder = request.param
    model, processor = tiny_llava(family=family, decoder=decoder)
    return model, processor, [
        prepare(model, processor, random_picture(seed=seed), question) for seed, question in enumerate(QUESTIONS)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("method", [None, "fitprune", "last-token", "random"])
def test_answers_do_not_depend_on_the_batch(prompts, method):
    model, processor, inputs = prompts
    way = UNPRUNED if method is None else Way(recipe_of(), find_method(method))
    alone, *together = (in_parts(model, processor, inputs, way, size, Decoding(8)) for size in SIZES)
    assert all(answers == alone for answers in together)
    assert len(set(alone)) > 4


@pytest.mark.slow
def test_answers_that_end_at_unequal_lengths_are_those_of_each_alone(prompts):
    model, processor, inputs = prompts
    whole = in_parts(model, processor, inputs, UNPRUNED, 1, Decoding(8))
    stop = next(character for character in processor.tokenizer.decode(whole[0][2:]) if character.isalnum())
    decoding = Decoding(8, until=(stop,))
    alone, *together = (in_parts(model, processor, inputs, UNPRUNED, size, decoding) for size in SIZES)
    assert all(answers == alone for answers in together)
    assert len({len(token_ids) for token_ids in alone}) > 1


@pytest.mark.slow
def test_the_counted_cost_is_that_of_each_alone(prompts):
    model, processor, inputs = prompts
    way = Way(recipe_of(), find_method("fitprune"))
    alone = [answer(model, processor, [one], way, Decoding(6))[0] for one in inputs]
    together = answer(model, processor, inputs, way, Decoding(6))
    assert [each.cost for each in together] == [each.cost for each in alone]
    assert [each.prompt_tokens for each in together] == [one["input_ids"].shape[1] for one in inputs]


@pytest.mark.slow
def test_scores_and_choices_are_those_of_each_alone(prompts, monkeypatch):
    model, processor, inputs = prompts
    received, scores = LayerAttention.received, []
    monkeypatch.setattr(
        LayerAttention, "received", lambda self, *groups: scores.append(received(self, *groups)) or scores[-1]
    )

    def traced(batch):
        scores.clear()
        with prune_visual_tokens(model, recipe_of(model="x")) as trace, torch.no_grad():
            model(**padded_together(batch, processor.tokenizer))
        return list(scores), trace.kept

    together, kept = traced(inputs)
    for number, one in enumerate(inputs):
        alone, kept_alone = traced([one])
        for ours, theirs in zip(together[number :: len(inputs)], alone, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)
        assert all(torch.equal(ours[number], theirs) for ours, theirs in zip(kept, kept_alone, strict=True))


@pytest.mark.slow
def test_mini_llava_says_the_same_in_batches():
    model, processor = load_model(MINI_LLAVA)
    prompts = [prepare(model, processor, scene.draw(), question.text) for scene, question in drawn_samples(8, 5)]
    pruned = Way(PruningRecipe.load(RECIPES / MINI_LLAVA / "60.json"), find_method("fitprune"))
    for way in (UNPRUNED, pruned):
        alone, *together = (in_parts(model, processor, prompts, way, size, Decoding(16)) for size in SIZES)
        assert all(answers == alone for answers in together)


def test_what_is_padded(prompts):
    model, processor, inputs = prompts
    together = padded_together(inputs[:3], processor.tokenizer)
    longest = max(one["input_ids"].shape[1] for one in inputs[:3])
    for number, one in enumerate(inputs[:3]):
        length = one["input_ids"].shape[1]
        assert torch.equal(together["input_ids"][number, longest - length :], one["input_ids"][0])
        assert together["attention_mask"][number].tolist() == [0] * (longest - length) + [1] * length
        assert torch.equal(together["pixel_values"][number], one["pixel_values"][0])
    assert int(visual_mask(model.config, together["input_ids"]).sum()) == sum(
        int(visual_mask(model.config, one["input_ids"]).sum()) for one in inputs[:3]
    )
    assert padded_together(inputs[:1], processor.tokenizer) is inputs[0]


def test_pictures_of_another_shape_are_of_another_kind():
    model, processor = tiny_llava(family="llava_next")
    kinds = [
        kind_of(prepare(model, processor, random_picture(*size), "What?"), model.config)
        for size in ((48, 36), (48, 36), (24, 70), (30, 30))
    ]
    text = kind_of(prepare(model, processor, None, "What?"), model.config)
    assert kinds[0] == kinds[1]
    assert len({*kinds, text}) == 4


def test_beams_and_sampling_come_one_at_a_time(prompts):
    model, processor, inputs = prompts
    for decoding in (Decoding(4, num_beams=2), Decoding(4, temperature=1.0)):
        with pytest.raises(ValueError, match="2 prompts came at once; with beams or sampling it is one at a time"):
            answer(model, processor, inputs[:2], UNPRUNED, decoding)


def test_batches_are_of_one_kind_in_order_and_what_waits_is_bounded():
    kinds = "abababcaaaabbbb"
    items = list(enumerate(kinds))
    batches = list(in_batches(((kind, number) for number, kind in items), lambda _: 3))
    assert sorted(number for batch in batches for number in batch) == list(range(len(kinds)))
    assert all(batch == sorted(batch) and len({kinds[n] for n in batch}) == 1 for batch in batches)
    assert batches[:2] == [[0, 2, 4], [1, 3, 5]]
    seen = []
    consumer = in_batches(((number, number) for number in range(100) if seen.append(number) is None), lambda _: 2)
    next(consumer)
    assert len(seen) == 8  # all of a kind of their own: four batches of two wait, and no more


@pytest.mark.parametrize("asked", [0, -1, True, 1.5, "many", None])
def test_batch_sizes_that_cannot_be(asked):
    with pytest.raises(ValueError, match="batch_size is .*; it must be a whole number from 1 up, or auto"):
        BatchSize(asked)


def test_memory_that_runs_out_halves_the_batch_and_goes_on(prompts, caplog):
    model, _, inputs = prompts
    done, tried, sizes = [], [], BatchSize("8")

    def work(part):
        tried.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        done.extend(part)

    with caplog.at_level(logging.WARNING):
        sizes.work_in_parts(work, list(range(7)), model.device, str)
    assert done == list(range(7))
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert sizes.of(model, inputs[0], 4) == 1  # for good
    assert len(caplog.records) == 2


def test_one_alone_that_needs_more_memory_is_named(prompts):
    def work(part):
        raise MemoryError

    with pytest.raises(MemoryError, match="ran out of memory on sample 5"):
        BatchSize(1).work_in_parts(work, [5], prompts[0].device, lambda item: f"sample {item}")


def test_auto_is_what_free_memory_holds(prompts, monkeypatch):
    model, _, inputs = prompts
    free = {"bytes": 0}
    monkeypatch.setattr("fitprune_core.run.batch.free_memory", lambda device: free["bytes"])
    found = []
    for free["bytes"] in (0, 2**22, 2**24, 2**40, None):
        found.append(fitting(model, inputs[0], 16))
        assert BatchSize("auto").of(model, inputs[0], 16) == found[-1]
    assert found[0] == 1 and found[3] == 16 and found[4] == 1
    assert found[:4] == sorted(found[:4])


def test_prompts_that_are_too_long_are_refused_where_they_are_made(prompts):
    model, processor, _ = prompts
    with pytest.raises(ValueError, match=r"the prompt has 5,?\d+ tokens; the model reads 4096 in all"):
        prepare(model, processor, random_picture(), "x" * 5_000)
    with pytest.raises(ValueError, match=r"tokens and the answer up to 4090; the model reads 4096 in all"):
        prepare(model, processor, None, "What?", max_new_tokens=4090)


def test_a_way_needs_both_recipe_and_method():
    with pytest.raises(ValueError, match="give both, or neither"):
        Way(recipe_of())
