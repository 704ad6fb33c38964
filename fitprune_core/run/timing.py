"""How long a model works on a request: prefill and decoding apart, original and pruned in turns, medians.

What is timed is the model's work alone: one forward pass over picture and prompt to the first token, then one pass for
each further token of an answer that is known already. Tokenising, streaming and `generate`'s bookkeeping stay outside.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel


class Stopped(Exception):
    """Somebody asked for a run to end before it was done."""


class Clock:
    """Seconds, read once a device has done all that it was given.

    An accelerator works through its queue while Python goes on, so a clock that did not wait would time the queueing.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        synchronize: Callable[[torch.device], None] = torch.accelerator.synchronize,
        counter: Callable[[], float] = time.perf_counter,
    ) -> None:
        """synchronize: waits for a device, not called for the CPU; counter: the time in seconds, from any start."""
        self._device, self._synchronize, self._counter = device, synchronize, counter

    def now(self) -> float:
        """The time in seconds, after waiting for the device."""
        if self._device.type != "cpu":
            self._synchronize(self._device)
        return self._counter()


@dataclass(frozen=True)
class Times:
    """Milliseconds from the start to the first token, and from there to the last (0 for an answer of one token)."""

    prefill_ms: float
    decode_ms: float


@dataclass(frozen=True)
class Side:
    """One way to run a model: `within()` is the context to run it in, `token_ids` the answer that it gives there."""

    within: Callable[[], AbstractContextManager]
    token_ids: Sequence[int]


def timed_pass(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    token_ids: Sequence[int],
    clock: Clock,
    should_stop: Callable[[], bool],
) -> Times:
    """Run one request whose answer is known, and time it.

    inputs: of one prompt, on the model's device. After every step the likeliest token is brought to the host, as
    greedy decoding must. Raises `Stopped` within one step of `should_stop`.
    """
    tokens = torch.tensor([token_ids], device=model.device)
    started = clock.now()
    output = model(**inputs, use_cache=True, logits_to_keep=1)
    output.logits[0, -1].argmax().item()
    first = last = clock.now()
    for step in range(len(token_ids) - 1):
        if should_stop():
            raise Stopped
        output = model(input_ids=tokens[:, step : step + 1], past_key_values=output.past_key_values, use_cache=True)
        output.logits[0, -1].argmax().item()
        last = clock.now()
    return Times(1e3 * (first - started), 1e3 * (last - first))


def paired_rounds(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    sides: Sequence[Side],
    clock: Clock,
    *,
    warmup: int,
    repeats: int,
    seconds: float = math.inf,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[list[Times]]:
    """Time several sides in turns; returns the times of all of them, round by round.

    Every round runs all sides, every other round in reverse, so that a machine that slows down, or a side that finds
    the caches warm, favours none. The first `warmup` rounds do not count. Of the `repeats` that do, at least one is
    run, and no further one that would not fit into so many seconds.
    """

    def timed_round(number: int) -> list[Times]:
        found = {}
        order = list(enumerate(sides))
        for index, side in order if number % 2 == 0 else reversed(order):
            if should_stop():
                raise Stopped
            with side.within():
                found[index] = timed_pass(model, inputs, side.token_ids, clock, should_stop)
        return [found[index] for index in range(len(sides))]

    for number in range(warmup):
        timed_round(number)
    rounds: list[list[Times]] = []
    started = clock.now()
    for number in range(warmup, warmup + repeats):
        rounds.append(timed_round(number))
        if (clock.now() - started) * (1 + 1 / len(rounds)) > seconds:
            break
    return rounds


def medians(rounds: Sequence[Sequence[Times]]) -> list[Times]:
    """Each side's medians over the rounds of `paired_rounds`."""
    return [
        Times(statistics.median(t.prefill_ms for t in times), statistics.median(t.decode_ms for t in times))
        for times in zip(*rounds, strict=True)
    ]
