"""One greedy answer, token by token: streamed, stoppable, timed, with its cache measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from fitprune_core.run.timing import Clock, Stopped, Times

Result = TypeVar("Result")


@dataclass(frozen=True)
class Generated:
    """A finished answer.

    Attributes:
        token_ids: all new tokens, the end-of-sequence token included where the answer ended by itself.
        kv_cache_bytes: keys and values of all layers at the end of the run, as they lie in memory.
        times: to the first token and from there to the last, while it was streamed.
    """

    token_ids: tuple[int, ...]
    kv_cache_bytes: int
    times: Times


def generate_greedily(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    *,
    max_new_tokens: int,
    on_token: Callable[[tuple[int, ...]], None] = lambda token_ids: None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> Generated:
    """Answer one prompt with `model.generate`, without sampling.

    inputs: of one prompt, on the model's device. on_token: called after each new token with all so far. should_stop:
    asked after each token; when it says so, `Stopped` is raised.
    """
    clock = clock or Clock(model.device)
    streamer, stop = _TokenStreamer(clock, on_token), _StopWhen(should_stop)
    started = clock.now()
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        return_dict_in_generate=True,
        streamer=streamer,
        stopping_criteria=[stop],
    )
    if stop.stopped:
        raise Stopped
    first, last = streamer.times[0], streamer.times[-1]
    times = Times(1e3 * (first - started), 1e3 * (last - first))
    return Generated(tuple(streamer.token_ids), cache_bytes(output.past_key_values), times)


def cache_bytes(cache: Any) -> int:
    """Bytes of the keys and values that a transformers cache holds, all layers together."""
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.is_initialized)


def iterate_in_thread(work: Callable[[Callable[[Any], None]], None], stop: threading.Event) -> Iterator[Any]:
    """Run `work(emit)` on a thread of its own and yield what it emits; what it raises is raised here.

    A generator can be resumed on any thread, but a model must be given back by the thread that took it, so the model
    stays on one. When the iteration is given up, `stop` is set and the thread is waited for: `work` should look at it.
    """
    items: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def run() -> None:
        try:
            work(lambda item: items.put(("item", item)))
        except BaseException as error:
            items.put(("error", error))
        else:
            items.put(("end", None))

    thread = threading.Thread(target=run, name="comparison", daemon=True)
    thread.start()
    try:
        while (item := items.get())[0] == "item":
            yield item[1]
        if item[0] == "error":
            raise item[1]
    finally:
        stop.set()
        thread.join()


class _TokenStreamer(BaseStreamer):
    """Notes when each token arrives. It turns none into text: that would be timed with the model's work."""

    def __init__(self, clock: Clock, on_token: Callable[[tuple[int, ...]], None]) -> None:
        self.clock, self.on_token = clock, on_token
        self.token_ids: list[int] = []
        self.times: list[float] = []
        self._is_prompt = True  # `generate` streams the prompt first

    def put(self, value: torch.Tensor) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        self.times.append(self.clock.now())
        self.token_ids.extend(value.tolist())
        self.on_token(tuple(self.token_ids))

    def end(self) -> None:
        """Nothing is held back."""


class _StopWhen(StoppingCriteria):
    """Ends generation as soon as somebody asks for it."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.should_stop, self.stopped = should_stop, False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        self.stopped = self.stopped or self.should_stop()
        return torch.full((input_ids.shape[0],), self.stopped, dtype=torch.bool, device=input_ids.device)
