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
from typing import Any

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


@dataclass(frozen=True)
class Paired:
    """One figure of two sides over the rounds of `paired_rounds`, and whether they differ by it.

    Attributes:
        rounds: how many there were.
        original, pruned: the least and the most of each side, in milliseconds.
        ratio: the median of original / pruned within a round: how many times faster the pruned side was.
        interval: of that median, 95 %, from the order of the ratios alone; None for fewer rounds than tell it (6).
    """

    rounds: int
    original: tuple[float, float]
    pruned: tuple[float, float]
    ratio: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """ "faster" or "slower"; "same" where the interval holds 1, "unknown" where there is none."""
        if self.interval is None:
            return "unknown"
        low, high = (round(end, 2) for end in self.interval)  # as it is told: "faster (1.00 to 1.2)" is no news
        return "faster" if low > 1 else "slower" if high < 1 else "same"

    def to_json(self) -> dict[str, Any]:
        """Its attributes and its verdict, as JSON has them."""
        return {
            "rounds": self.rounds,
            "original": list(self.original),
            "pruned": list(self.pruned),
            "ratio": self.ratio,
            "interval": self.interval and list(self.interval),
            "verdict": self.verdict,
        }

    def words(self) -> str:
        """What may be said about it, in a few words: "1.6 times faster (1.4 to 1.9)", "no measurable difference"."""
        if self.interval is None:
            runs = "1 run" if self.rounds == 1 else f"{self.rounds} runs"
            return f"{runs}: too few to compare"
        if self.verdict == "same":
            return "no measurable difference"
        ratio, low, high = self.times()
        return f"{ratio} times {self.verdict} ({low} to {high})"

    def times(self) -> tuple[str, str, str]:
        """How many times faster, or slower, and the ends of the interval, as people write them."""
        low, high = self.interval or (self.ratio, self.ratio)
        if self.verdict == "slower":
            return _times(1 / self.ratio), _times(1 / high), _times(1 / low)
        return _times(self.ratio), _times(low), _times(high)


def paired(rounds: Sequence[Sequence[Times]], figure: Callable[[int, Times], float]) -> Paired | None:
    """Compare the two sides of `paired_rounds` by a figure: `figure(side, times)` in milliseconds, side 0 or 1.

    None where there are no rounds, or the figure is 0 (an answer of one token has no decoding).
    """
    values = [[figure(side, times) for side, times in enumerate(each)] for each in rounds]
    if not values or min(map(min, values)) <= 0:
        return None
    ratios = [original / pruned for original, pruned in values]
    a, b = ((min(side), max(side)) for side in zip(*values, strict=True))
    return Paired(len(ratios), a, b, statistics.median(ratios), _median_interval(ratios))


def _median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a median by order alone, as `scipy.stats.quantile_test` has it, whose import takes longer
    than all else that a comparison computes beside the model. None where there are too few values for any.
    """
    # How many values lie below the median is binomial; so many at each end are left out in 2.5 % of all cases at most.
    count, outside, cases = len(values), 0, 0
    while outside < count and (cases := cases + math.comb(count, outside)) < 0.025 * 2**count:
        outside += 1
    ordered = sorted(values)
    return (ordered[outside - 1], ordered[count - outside]) if outside else None


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}" if ratio < 1.1 else f"{ratio:.1f}"


def medians(rounds: Sequence[Sequence[Times]]) -> list[Times]:
    """Each side's medians over the rounds of `paired_rounds`."""
    return [
        Times(statistics.median(t.prefill_ms for t in times), statistics.median(t.decode_ms for t in times))
        for times in zip(*rounds, strict=True)
    ]
