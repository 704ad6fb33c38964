"""The comparison: two true answers, every token accounted for, costs of what ran, and clean ends of every kind."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fitprune_core import PruningRecipe, prune_visual_tokens
from fitprune_core.cost.decoder import visual_flops, visual_reduction
from fitprune_core.models.exclusive import exclusive_use
from fitprune_core.models.loading import model_name
from fitprune_core.models.prompts import build_inputs
from fitprune_core.run import comparison as comparing
from fitprune_core.run.comparison import Answered, Comparison, Partial, compare, normalised, stream_comparison
from fitprune_core.run.sweep import sweep
from fitprune_core.run.timing import Clock, Stopped
from tests.flop_counting import counted_flops
from tests.tiny import random_picture, tiny_llava

REMOVED = (9, 6, 0, 5)
QUESTION = "What is this?"
RUN_KEYS = ["answer", "new_tokens", "prefill_ms", "decode_ms", "visual_gflops", "total_gflops", "kv_cache_bytes"]
KEYS = ["model", "reduction", "achieved_reduction", "removed", "kept", "original", "pruned"]


@pytest.fixture(scope="module")
def recipe(tiny):
    return PruningRecipe(
        model=model_name(tiny[0]),
        num_layers=4,
        num_visual_tokens=36,
        reduction=0.4,
        achieved_reduction=visual_reduction(tiny[0].config, REMOVED, 36),
        removed=REMOVED,
    )


@pytest.fixture(scope="module")
def items(tiny, recipe):
    # A millisecond passes between two looks at the clock, however busy the machine is.
    clock = Clock(torch.device("cpu"), counter=partial(next, itertools.count(0.0, 1e-3)))
    return list(stream_comparison(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=8, repeats=2, clock=clock))


@pytest.fixture(scope="module")
def comparison(items):
    return items[-1]


def answer_of(model, processor, question=QUESTION):
    inputs = build_inputs(processor, random_picture(), question)
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_both_answers_are_what_generate_gives(tiny, recipe, comparison):
    assert comparison.original.answer == answer_of(*tiny)
    with prune_visual_tokens(tiny[0], recipe):
        assert comparison.pruned.answer == answer_of(*tiny)


def test_original_streams_first_then_pruned(items):
    *partials, _, last = items
    assert isinstance(last, Comparison)
    assert all(isinstance(item, Partial) for item in partials)
    stages = [item.stage for item in partials]
    assert stages == sorted(stages)
    assert stages.count("original") == last.original.new_tokens
    assert stages.count("pruned") == last.pruned.new_tokens
    assert all(item.pruned == "" for item in partials if item.stage == "original")
    assert last.original.answer.startswith(partials[-1].original)
    assert last.pruned.answer.startswith(partials[-1].pruned)


def test_every_token_is_accounted_for(tiny, recipe, comparison):
    model, processor = tiny
    with prune_visual_tokens(model, recipe) as trace, torch.no_grad():
        model(**build_inputs(processor, random_picture(), QUESTION))
    assert comparison.removed == REMOVED
    assert [list(kept) for kept in comparison.kept] == [kept.tolist() for kept in trace.kept]
    for layer, dropped in enumerate(trace.dropped):
        ranks = {token: comparison.rank[token] for token in dropped.tolist()}
        assert list(ranks.values()) == list(range(1, len(ranks) + 1))
        assert {token for token, at in enumerate(comparison.dropped_after) if at == layer} == set(ranks)
    survivors = [token for token, at in enumerate(comparison.dropped_after) if at == 4]
    assert survivors == list(comparison.kept[-1])
    assert all(comparison.rank[token] == 0 for token in survivors)


def test_costs_are_counted_for_what_ran(tiny, comparison):
    config = tiny[0].config
    original, pruned = comparison.original, comparison.pruned
    assert comparison.achieved_reduction == visual_reduction(config, REMOVED, 36)
    assert pruned.visual_gflops == visual_flops(config, REMOVED, 36) / 1e9
    assert pruned.visual_gflops / original.visual_gflops == pytest.approx(1 - comparison.achieved_reduction)
    assert original.flops.scoring == 0 < pruned.flops.scoring
    assert original.total_gflops == original.flops.total / 1e9
    assert pruned.total_gflops < original.total_gflops
    # Layer 0 caches everything; after it 9, 15 and 15 tokens are missing: keys and values, 64 wide, float32.
    per_position = 2 * 64 * 4
    longer = (original.new_tokens - pruned.new_tokens) * 4
    assert original.kv_cache_bytes - pruned.kv_cache_bytes == (9 + 15 + 15 + longer) * per_position


def test_flops_are_those_that_torch_counts(tiny, recipe, comparison):
    model, processor = tiny
    inputs = build_inputs(processor, random_picture(), QUESTION)
    for run, used in ((comparison.original, PruningRecipe.empty(4, 36, recipe.model)), (comparison.pruned, recipe)):
        answer = partial(
            model.generate, **inputs, max_new_tokens=run.new_tokens, min_new_tokens=run.new_tokens, do_sample=False
        )
        # The figure is that of a kernel that keeps its softmax's normaliser to itself, on every device.
        with prune_visual_tokens(model, used), sdpa_kernel(SDPBackend.MATH):
            assert run.flops.total == pytest.approx(counted_flops(answer), rel=0.005)


def test_json_begins_with_the_stable_keys(comparison):
    entries = comparison.to_json()
    assert list(entries)[: len(KEYS)] == KEYS
    assert list(entries["original"])[: len(RUN_KEYS)] == RUN_KEYS
    assert json.loads(json.dumps(entries, allow_nan=False)) == entries
    assert len(entries["kept"]) == 4
    assert len(entries["dropped_after"]) == len(entries["rank"]) == len(entries["boxes"]) == 36
    assert entries["image_size"] == [48, 36]


def test_zero_recipe_changes_nothing(tiny):
    empty = PruningRecipe.empty(4, 36, model_name(tiny[0]))
    result = compare(*tiny, random_picture(), QUESTION, empty, max_new_tokens=4, repeats=0)
    assert result.agree
    assert result.original.answer == result.pruned.answer
    assert result.original.kv_cache_bytes == result.pruned.kv_cache_bytes
    assert result.original.flops == result.pruned.flops
    assert set(result.dropped_after) == {4}


def test_an_image_tag_in_the_question_is_text(tiny, recipe):
    result = compare(*tiny, random_picture(), "What does <image> mean?", recipe, max_new_tokens=2, repeats=0)
    assert len(result.rank) == 36


def test_times_are_medians_of_runs_in_turns(tiny, recipe, comparison):
    assert comparison.timing.startswith("median of 2 runs of each, in turns")
    assert comparison.original.prefill_ms == pytest.approx(1)
    assert comparison.original.decode_ms == pytest.approx(comparison.original.new_tokens - 1)
    assert comparison.original.total_ms == comparison.original.prefill_ms + comparison.original.decode_ms
    steps = comparison.original.new_tokens - 1
    assert comparison.original.per_token_ms == pytest.approx(comparison.original.decode_ms / steps)
    single = compare(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=1, repeats=1)
    assert (single.original.decode_ms, single.original.per_token_ms) == (0.0, None)


def test_all_but_the_times_is_there_before_they_are_measured(items, comparison):
    *partials, answered, last = items
    assert isinstance(answered, Answered) and last is comparison
    early = answered.comparison
    assert early.timing.startswith("once, while the answers were streamed") and early.paired == {}
    assert early.removed == last.removed and early.dropped_after == last.dropped_after and early.agree == last.agree
    for before, after in ((early.original, last.original), (early.pruned, last.pruned)):
        assert (before.answer, before.flops, before.kv_cache_bytes) == (after.answer, after.flops, after.kv_cache_bytes)


@pytest.mark.slow
def test_times_are_compared_round_by_round(tiny, recipe):
    # Every look at the clock is a millisecond later, so both sides take equally long in every round.
    clock = Clock(torch.device("cpu"), counter=partial(next, itertools.count(0.0, 1e-3)))
    result = compare(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=4, repeats=6, clock=clock)
    assert result.paired["prefill"].rounds == 6 and result.paired["prefill"].verdict == "same"
    assert result.paired["prefill"].ratio == pytest.approx(1)
    single = compare(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=1, repeats=6, clock=clock)
    assert single.paired["per_token"] is None and single.paired["total"].verdict == "same"
    assert json.loads(json.dumps(result.to_json()))["paired"]["prefill"]["interval"] == pytest.approx([1, 1])


def test_a_request_too_long_to_repeat_keeps_its_streamed_times(tiny, recipe):
    seconds = iter(range(1000))  # a second passes between any two looks at the clock
    clock = Clock(torch.device("cpu"), counter=lambda: float(next(seconds)))
    result = compare(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=8, clock=clock)
    assert result.timing.startswith("once, while the answers were streamed")
    assert result.original.prefill_ms == 1000.0
    assert result.original.decode_ms == 1000.0 * (result.original.new_tokens - 1)


@pytest.mark.parametrize("after", [1, 3, 7, 10])
def test_stop_ends_the_stream_within_one_token(tiny, recipe, after):
    seen = []
    stream = stream_comparison(
        *tiny, random_picture(), QUESTION, recipe, max_new_tokens=8, should_stop=lambda: len(seen) >= after
    )
    for item in stream:
        seen.append(item)
    assert not any(isinstance(item, Comparison) for item in seen)


def test_stop_during_the_measurement(tiny, recipe):
    looks = []

    def should_stop():
        looks.append(None)
        return len(looks) > 2 * 8 + 3  # once a token while streaming, then in the measurement

    with pytest.raises(Stopped):
        compare(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=8, should_stop=should_stop)


@pytest.mark.slow
def test_model_is_whole_again_when_the_stream_is_given_up(tiny, recipe):
    model, processor = tiny
    inputs = build_inputs(processor, random_picture(), QUESTION)
    with torch.no_grad():
        before = model(**inputs).logits
    stream = stream_comparison(model, processor, random_picture(), QUESTION, recipe, max_new_tokens=64)
    for item in stream:
        if item.stage == "pruned":
            break
    stream.close()
    assert not any(thread.name == "comparison" for thread in threading.enumerate())
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, before)


def test_the_measurement_waits_until_the_caller_is_done_with_the_answers(tiny, recipe, monkeypatch):
    """Whatever it does with them would be measured along; and it may use the model, which is free meanwhile."""
    measured, measure = threading.Event(), comparing.paired_rounds
    monkeypatch.setattr(comparing, "paired_rounds", lambda *args, **more: measured.set() or measure(*args, **more))
    stream = stream_comparison(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=2, repeats=1)
    answered = next(item for item in stream if isinstance(item, Answered))
    assert not measured.wait(0.05)
    one = compare(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=2, repeats=0)
    assert one.pruned.answer == answered.comparison.pruned.answer and not measured.is_set()
    assert isinstance(next(stream), Comparison) and measured.is_set()


def test_inside_a_block_that_holds_the_model_it_is_refused_before_the_thread_starts(tiny, recipe):
    """The thread would wait for the block, and the block for the thread."""
    picture, options = random_picture(), {"max_new_tokens": 2, "repeats": 1}
    stream = stream_comparison(*tiny, picture, QUESTION, recipe, **options)
    with exclusive_use(tiny[0]):
        with pytest.raises(ValueError, match="being pruned or measured already"):
            compare(*tiny, picture, QUESTION, recipe, **options)
        with pytest.raises(ValueError, match="being pruned or measured already"):
            next(stream)
    stream = stream_comparison(*tiny, picture, QUESTION, recipe, **options)
    assert next(item for item in stream if isinstance(item, Answered))
    with exclusive_use(tiny[0]), pytest.raises(ValueError, match="being pruned or measured already") as refusal:
        next(stream)
    assert refusal and not any(thread.name == "comparison" for thread in threading.enumerate())


def test_it_answers_under_the_autocast_of_its_caller(tiny, recipe):
    def margin():
        return compare(*tiny, random_picture(), QUESTION, recipe, max_new_tokens=2, repeats=0).pruned.margin

    plain = margin()
    with torch.autocast("cpu", torch.bfloat16):
        assert margin() != plain
        (one,) = sweep(*tiny, random_picture(), QUESTION, [recipe], max_new_tokens=2)
        assert margin() == one.pruned.margin
    assert margin() == plain


def test_errors_of_the_model_reach_the_caller_and_the_next_request_works(recipe, monkeypatch):
    model, processor = tiny_llava()
    recipe = replace(recipe, model=model_name(model))

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(model.model.language_model.layers[2], "forward", fail)
        with pytest.raises(MemoryError, match="cpu ran out of memory on a prompt of [0-9]+ tokens, 36 of them visual"):
            compare(model, processor, random_picture(), QUESTION, recipe, max_new_tokens=2)
        patch.setattr(model.model.language_model.layers[2], "forward", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compare(model, processor, random_picture(), QUESTION, recipe, max_new_tokens=2)
    assert compare(model, processor, random_picture(), QUESTION, recipe, max_new_tokens=2, repeats=0).pruned.answer


@pytest.mark.slow
def test_two_threads_do_not_mix(tiny, recipe):
    light = replace(recipe, removed=(0, 3, 0, 0))
    alone = [compare(*tiny, random_picture(), QUESTION, r, max_new_tokens=6, repeats=0) for r in (recipe, light)]
    together = {}

    def run(name, chosen):
        for _ in range(3):
            result = compare(*tiny, random_picture(), QUESTION, chosen, max_new_tokens=6, repeats=1)
            together.setdefault(name, []).append(result)

    threads = [threading.Thread(target=run, args=pair) for pair in ((0, recipe), (1, light))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, expected in enumerate(alone):
        for result in together[name]:
            assert result.kept == expected.kept
            assert result.original.answer == expected.original.answer
            assert result.pruned.answer == expected.pruned.answer


def test_recipe_of_another_picture_size_is_scaled(tiny):
    doubled = PruningRecipe(
        model=model_name(tiny[0]),
        num_layers=4,
        num_visual_tokens=72,
        reduction=0.4,
        achieved_reduction=0.4,
        removed=tuple(2 * count for count in REMOVED),
    )
    result = compare(*tiny, random_picture(), QUESTION, doubled, max_new_tokens=2, repeats=0)
    assert result.removed == REMOVED


def test_other_checkpoint_is_warned_about_once(tiny, recipe, caplog):
    other = replace(recipe, model="someone/another-llava")
    with caplog.at_level(logging.WARNING):
        compare(*tiny, random_picture(), QUESTION, other, max_new_tokens=2, repeats=2)
    assert [record.message for record in caplog.records if "another-llava" in record.message] == [
        f"the recipe was fitted on someone/another-llava and is applied to {model_name(tiny[0])}"
    ]


def test_what_cannot_be_is_refused_at_once(tiny, recipe):
    picture = random_picture()
    deeper = PruningRecipe.empty(5, 36, "deeper")
    cases = [
        ((None, QUESTION, recipe), {}, "PIL image"),
        ((picture, "  ", recipe), {}, "question is empty"),
        ((picture, "x" * 100_000, recipe), {}, "100,000 characters"),
        ((picture, QUESTION, deeper), {}, "5 layers"),
        ((picture, QUESTION, recipe), {"method": "guess"}, "guess"),
        ((picture, QUESTION, recipe), {"max_new_tokens": 0}, "max_new_tokens must be a whole number from 1 up, not 0"),
        ((picture, QUESTION, recipe), {"max_new_tokens": "8"}, "max_new_tokens must be .*, not '8'"),
        ((picture, QUESTION, recipe), {"warmup": "1"}, "warmup must be a whole number from 0 up, not '1'"),
        ((picture, QUESTION, recipe), {"repeats": -1}, "repeats must be a whole number from 0 up, not -1"),
        ((picture, QUESTION, recipe), {"method": "fastv:layer=4"}, "fastv"),
        ((picture, QUESTION, recipe), {"max_new_tokens": 5000}, "reads 4096 in all"),
    ]
    for arguments, options, words in cases:
        with pytest.raises(ValueError, match=words):
            stream_comparison(*tiny, *arguments, **options)


def test_agreement_ignores_case_space_and_final_punctuation():
    assert normalised(" A red  Car.\n") == normalised("a Red car")
    assert normalised("2") != normalised("3")
