"""One greedy answer: what `generate` gives, streamed, stoppable; work on a thread; memory that runs out."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import nullcontext
from functools import partial

import pytest
import torch

from fitprune_core.models.memory import with_memory_explained
from fitprune_core.models.prompts import build_inputs
from fitprune_core.pruning.context import prune_visual_tokens
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.generation import cache_bytes, generate, iterate_in_thread
from fitprune_core.run.next_tokens import distribution_of, margin
from fitprune_core.run.timing import Clock, Stopped
from tests.pruned import recipe_of
from tests.tiny import random_picture


@pytest.fixture
def inputs(tiny):
    return build_inputs(tiny[1], random_picture(), "What is this?")


def test_tokens_are_those_of_generate(tiny, inputs):
    model, processor = tiny
    plain = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
    seen = []
    run = generate(model, processor.tokenizer, inputs, Decoding(8), on_token=seen.append)
    assert run.token_ids == (tuple(plain),)
    assert seen == [tuple(plain[: count + 1]) for count in range(len(plain))]


@pytest.mark.slow
def test_a_checkpoint_s_own_settings_change_no_greedy_answer(tiny, inputs, monkeypatch):
    """Each setting by itself would; `Decoding` says that every token is the likeliest one."""
    model, processor = tiny
    plain = generate(model, processor.tokenizer, inputs, Decoding(8)).token_ids
    first = plain[0][0]
    own = {"repetition_penalty": 0.01, "no_repeat_ngram_size": 1, "suppress_tokens": [first], "min_length": 5000,
           "bad_words_ids": [[first]], "begin_suppress_tokens": [first], "forced_eos_token_id": 0, "temperature": 0.1,
           "sequence_bias": [[[first], -100.0]]}  # fmt: skip
    changed = []
    for name, value in own.items():
        monkeypatch.setattr(model.generation_config, name, value)
        assert generate(model, processor.tokenizer, inputs, Decoding(8)).token_ids == plain, name
        theirs = model.generate(**inputs, max_new_tokens=8, do_sample=False)[:, inputs["input_ids"].shape[1] :]
        changed += [name] if (tuple(theirs[0].tolist()),) != plain else []
        monkeypatch.undo()
    assert {"suppress_tokens", "bad_words_ids", "sequence_bias"} <= set(changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_cache", False),
        ("max_time", 1e-9),
        *(
            pytest.param(*other, marks=pytest.mark.slow)
            for other in {
                "stop_strings": ["e"],
                "cache_implementation": "static",
                "penalty_alpha": 0.6,
                "token_healing": True,
                "prompt_lookup_num_tokens": 3,
                "output_hidden_states": True,
            }.items()
        ),
    ],
)
def test_a_checkpoint_s_own_way_to_generate_is_not_taken(tiny, inputs, monkeypatch, name, value):
    """Some cut answers short without a word, others end in errors of transformers."""
    model, processor = tiny
    monkeypatch.setattr(model.generation_config, "top_k", 4)
    for block in (nullcontext, partial(prune_visual_tokens, model, recipe_of())):
        with block():
            plain = generate(model, processor.tokenizer, inputs, Decoding(4))
            with monkeypatch.context() as patched:
                patched.setattr(model.generation_config, name, value)
                found = generate(model, processor.tokenizer, inputs, Decoding(4))
        assert (found.token_ids, found.kv_cache_bytes) == (plain.token_ids, plain.kv_cache_bytes)


def test_the_margin_is_that_of_the_least_sure_token(tiny, inputs):
    """Against plain transformers' own logits, step by step; of a pruned answer as well."""
    model, processor = tiny
    prompt = inputs["input_ids"].shape[1]
    for block in (nullcontext, partial(prune_visual_tokens, model, recipe_of())):
        with block():
            plain = model.generate(**inputs, max_new_tokens=6, do_sample=False, output_logits=True,
                                   return_dict_in_generate=True)  # fmt: skip
            run = generate(model, processor.tokenizer, inputs, Decoding(6))
        assert run.token_ids == (tuple(plain.sequences[0, prompt:].tolist()),)
        margins = [margin(distribution_of(logits[0])) for logits in plain.logits]
        assert run.margins == (pytest.approx(min(margins), abs=1e-6),)
    assert generate(model, processor.tokenizer, inputs, Decoding(4, num_beams=2)).margins == ()


def test_cache_is_measured(tiny, inputs):
    model, processor = tiny
    run = generate(model, processor.tokenizer, inputs, Decoding(5))
    text = model.config.text_config
    positions = inputs["input_ids"].shape[1] + len(run.token_ids[0]) - 1  # the last token is never fed back
    assert run.kv_cache_bytes == 2 * text.num_hidden_layers * positions * text.hidden_size * 4


def test_empty_cache_holds_nothing(tiny):
    from transformers import DynamicCache

    assert cache_bytes(DynamicCache(config=tiny[0].config.text_config)) == 0


def test_times_follow_the_clock(tiny, inputs):
    ticks = iter([10.0, 10.5, 10.6, 10.8, 11.0])
    clock = Clock(torch.device("cpu"), counter=lambda: next(ticks))
    run = generate(tiny[0], tiny[1].tokenizer, inputs, Decoding(4), clock=clock)
    assert run.times.prefill_ms == pytest.approx(500)
    assert run.times.decode_ms == pytest.approx(500)


def test_stops_within_one_token(tiny, inputs):
    seen = []
    with pytest.raises(Stopped):
        generate(
            *(tiny[0], tiny[1].tokenizer, inputs, Decoding(20)),
            on_token=seen.append,
            should_stop=lambda: len(seen) >= 3,
        )
    assert len(seen) == 3


def test_items_come_in_order_and_errors_reach_the_caller():
    def work(emit):
        emit(1)
        emit(2)
        raise KeyError("lost")

    items = iterate_in_thread(work, threading.Event())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="lost"):
        next(items)


def test_giving_up_stops_the_thread_and_waits_for_it():
    stop, ended = threading.Event(), threading.Event()

    def work(emit):
        emit("started")
        stop.wait()
        ended.set()

    items = iterate_in_thread(work, stop)
    next(items)
    items.close()
    assert ended.is_set()


def test_the_thread_waits_until_the_next_item_is_asked_for():
    went_on = threading.Event()

    def work(emit):
        emit("wait", wait=True)
        went_on.set()
        emit("last")

    items = iterate_in_thread(work, threading.Event())
    assert next(items) == "wait" and not went_on.wait(0.05)
    assert next(items) == "last" and went_on.is_set()
    assert list(items) == []


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_giving_up_lets_a_thread_go_on_that_waits_to_be_asked(taken):
    ended, stop = threading.Event(), threading.Event()

    def work(emit):
        emit("first")
        emit("wait", wait=True)
        emit("wait again", wait=True)
        ended.set()

    items = iterate_in_thread(work, stop)
    for _ in range(taken):
        next(items)
    items.close()
    assert ended.is_set() == bool(taken)  # or was never begun
    assert not any(thread.name == "comparison" for thread in threading.enumerate())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_out_of_memory_is_explained_and_what_was_held_is_freed(error):
    held = []

    def work():
        big = torch.zeros(10)
        held.append(weakref.ref(big))
        raise error

    with pytest.raises(MemoryError, match="cpu ran out of memory on a prompt of 9 tokens") as raised:
        with_memory_explained(work, torch.device("cpu"), "a prompt of 9 tokens")
    assert raised.value.__context__ is None
    # The test itself holds the error that it raised.
    error.__traceback__ = None
    gc.collect()
    assert held[0]() is None


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes"):
        with_memory_explained(_fail, torch.device("cpu"), "x")


def _fail():
    raise RuntimeError("shapes do not fit")
