"""Times: read after the device is done, prefill and decoding apart, sides in turns, medians. No real clock here."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fitprune_core.models.prompts import build_inputs
from fitprune_core.run.timing import Clock, Side, Stopped, Times, medians, paired, paired_rounds, timed_pass
from tests.tiny import random_picture


class StubDevice:
    """A device that works through its queue only when it is waited for, and the wall clock that it moves."""

    def __init__(self):
        self.time, self.queued, self.waits = 0.0, 0.0, []

    def launch(self, seconds):
        self.queued += seconds

    def synchronize(self, device):
        self.waits.append(device)
        self.time += self.queued
        self.queued = 0.0

    def clock(self, device="cuda"):
        return Clock(torch.device(device), synchronize=self.synchronize, counter=lambda: self.time)


class StubModel:
    """Takes `prefill` seconds for a prompt and `step` for a token, on a stub device; plans can change with time."""

    def __init__(self, device, prefill=(0.5,), step=0.25):
        self.stub, self.prefill, self.step = device, list(prefill), step
        self.device, self.calls = torch.device("cpu"), []

    def __call__(self, **inputs):
        self.calls.append(inputs)
        is_prompt = inputs.get("past_key_values") is None
        self.stub.launch(
            (self.prefill.pop(0) if len(self.prefill) > 1 else self.prefill[0]) if is_prompt else self.step
        )
        return SimpleNamespace(logits=torch.zeros(1, 1, 5), past_key_values="cache")


def never():
    return False


def test_clock_waits_for_an_accelerator():
    device = StubDevice()
    clock = device.clock("cuda")
    device.launch(2.0)
    assert clock.now() == 2.0
    assert device.waits == [torch.device("cuda")]


def test_clock_has_nothing_to_wait_for_on_a_cpu():
    device = StubDevice()
    device.time = 3.0
    assert device.clock("cpu").now() == 3.0
    assert device.waits == []


def test_prefill_and_decoding_are_told_apart():
    device = StubDevice()
    model = StubModel(device)
    times = timed_pass(model, {"input_ids": "prompt"}, (7, 8, 9), device.clock(), never)
    assert times == Times(prefill_ms=500.0, decode_ms=500.0)
    assert model.calls[0] == {"input_ids": "prompt", "use_cache": True, "logits_to_keep": 1}
    assert [call["input_ids"].tolist() for call in model.calls[1:]] == [[[7]], [[8]]]


def test_one_token_has_no_decoding():
    device = StubDevice()
    assert timed_pass(StubModel(device), {}, (7,), device.clock(), never).decode_ms == 0.0


def test_sides_take_turns_and_medians_ignore_one_slow_run():
    device, order = StubDevice(), []

    @contextmanager
    def noted(name):
        order.append(name)
        yield

    # One warm-up round (a and b), then three: a b | b a | a b | b a.
    model = StubModel(device, prefill=[9, 9, 2, 1, 1, 2, 2, 70])
    sides = [Side(lambda: noted("a"), (1,)), Side(lambda: noted("b"), (1, 2))]
    rounds = paired_rounds(model, {}, sides, device.clock(), warmup=1, repeats=3)
    a, b = medians(rounds)
    assert len(rounds) == 3
    assert order == list("abbaabba")
    assert (a.prefill_ms, a.decode_ms) == (1000.0, 0.0)
    assert (b.prefill_ms, b.decode_ms) == (2000.0, 250.0)


def rounds_of(ratios, pruned=10.0):
    """Rounds in which the original took `ratio` times as long in its prefill, and both a millisecond to decode."""
    return [(Times(ratio * pruned, 1.0), Times(pruned, 1.0)) for ratio in ratios]


def by_prefill(side, times):
    return times.prefill_ms


@pytest.mark.parametrize(
    ("ratios", "verdict", "words"),
    [
        # Of 9 ordered values the 2nd and the 8th hold the median in 96 % of all cases: 1 - 2 (1 + 9) / 2^9.
        ([1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 9.0], "faster", "1.6 times faster (1.3 to 1.9)"),
        ([0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.8, 0.9], "slower", "2.0 times slower (1.2 to 2.0)"),
        ([0.9, 0.95, 1.0, 1.2, 1.2, 1.2, 1.3, 1.4, 2.9], "same", "no measurable difference"),
        # Of 6 even the first and the last: 1 - 2 / 2^6 = 97 %; of 5 no two do: 94 %.
        ([1.5] * 5 + [1.01], "faster", "1.5 times faster (1.01 to 1.5)"),
        ([1.5] * 5 + [0.99], "same", "no measurable difference"),
        ([1.5] * 5, "unknown", "5 runs: too few to compare"),
        ([1.5], "unknown", "1 run: too few to compare"),
    ],
)
def test_what_may_be_said_about_paired_times(ratios, verdict, words):
    found = paired(rounds_of(ratios), by_prefill)
    assert (found.verdict, found.words(), found.rounds) == (verdict, words, len(ratios))
    assert found.pruned == (10.0, 10.0)
    assert found.original == pytest.approx((10 * min(ratios), 10 * max(ratios)))


@pytest.mark.parametrize("count", [1, 5, 6, 8, 9, 15, 40])
def test_the_interval_of_the_median_is_scipys(count):
    from scipy.stats import quantile_test

    ratios = np.random.default_rng(count).gamma(9, 0.2, count).tolist()
    low, high = quantile_test(ratios, q=1, p=0.5).confidence_interval(0.95)
    expected = None if count < 6 else (pytest.approx(low), pytest.approx(high))
    assert paired(rounds_of(ratios), by_prefill).interval == expected


def test_pairs_are_compared_within_their_rounds():
    """A machine that slows down tenfold midway moves the times of both, and not how they compare."""
    rounds = [(Times(20.0 * slow, 0.0), Times(10.0 * slow, 0.0)) for slow in (1, 1, 1, 1, 10, 10, 10)]
    found = paired(rounds, by_prefill)
    assert (found.ratio, found.interval, found.original) == (2.0, (2.0, 2.0), (20.0, 200.0))
    assert paired(rounds, lambda side, times: times.decode_ms) is None
    assert paired([], by_prefill) is None


def test_rounds_that_take_too_long_are_not_begun():
    device = StubDevice()
    model = StubModel(device, prefill=[1.0])
    sides = [Side(nullcontext, (1,)), Side(nullcontext, (1,))]
    for seconds, expected in ((0.5, 1), (3.9, 1), (4.0, 2), (100.0, 5)):
        rounds = paired_rounds(model, {}, sides, device.clock(), warmup=1, repeats=5, seconds=seconds)
        assert len(rounds) == expected


def test_stops_within_a_step():
    device = StubDevice()
    model = StubModel(device)
    with pytest.raises(Stopped):
        timed_pass(model, {}, (1, 2, 3, 4, 5), device.clock(), lambda: len(model.calls) >= 3)
    assert len(model.calls) == 3
    with pytest.raises(Stopped):
        paired_rounds(
            model, {}, [Side(nullcontext, (1,))], device.clock(), warmup=0, repeats=1, should_stop=lambda: True
        )


def test_a_pass_repeats_what_generate_does(tiny):
    """The tokens that a timed pass finds likeliest are those of the answer: it does the same work."""
    model, processor = tiny
    inputs = build_inputs(processor, random_picture(), "What is this?")
    with torch.no_grad():
        answer = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
        found = []
        handle = model.register_forward_hook(lambda _, __, output: found.append(output.logits[0, -1].argmax().item()))
        try:
            timed_pass(model, inputs, answer, Clock(model.device), never)
        finally:
            handle.remove()
    assert found == answer
