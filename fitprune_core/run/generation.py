"""What `model.generate` gives, token by token: streamed, stoppable, timed, with its cache measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from transformers import (
    EosTokenCriteria,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StopStringCriteria,
)

from fitprune_core.run.decoding import Decoding
from fitprune_core.run.timing import Clock, Stopped, Times

Result = TypeVar("Result")


@dataclass(frozen=True)
class Generated:
    """Finished answers.

    Attributes:
        token_ids: for each prompt all new tokens, the end-of-sequence token included where it ended by itself.
        kv_cache_bytes: keys and values of all layers and prompts at the end of the run, as they lie in memory.
        times: to the first token and from there to the last, of all prompts together.
        margins: for each prompt how much likelier its least sure token was than the next likeliest, 0 to 1; none where
            tokens are not simply the likeliest.
    """

    token_ids: tuple[tuple[int, ...], ...]
    kv_cache_bytes: int
    times: Times
    margins: tuple[float, ...] = ()


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: Mapping[str, torch.Tensor],
    decoding: Decoding,
    *,
    on_token: Callable[[tuple[int, ...]], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> Generated:
    """Answer one prompt, or a batch of them padded on the left, with `model.generate`.

    inputs: on the model's device. on_token: called after each new token with all tokens of the first prompt so far.
    should_stop: asked after each token; when it says so, `Stopped` is raised.
    """
    clock = clock or Clock(model.device)
    batch, length = inputs["input_ids"].shape
    watch = _Watch(length, _ends(model, tokenizer, decoding), clock, on_token, should_stop)
    margins = _Margins() if decoding.is_greedy else None
    options: dict[str, Any] = {"logits_processor": LogitsProcessorList([margins])} if margins else {}
    started = clock.now()
    output = model.generate(
        **inputs, **decoding.arguments(), **options, return_dict_in_generate=True, stopping_criteria=[watch]
    )
    if watch.stopped:
        raise Stopped
    rows = output.sequences[:, length:].tolist()
    # A prompt that has ended is padded while others go on; beams end by their own rules, and come one at a time.
    counts = [len(row) for row in rows]
    if decoding.num_beams == 1 and watch.counts is not None:
        counts = watch.counts.tolist()
    times = Times(1e3 * (watch.times[0] - started), 1e3 * (watch.times[-1] - watch.times[0]))
    token_ids = tuple(tuple(row[:count]) for row, count in zip(rows, counts, strict=True))
    least = margins.least(counts) if margins else ()
    return Generated(token_ids, cache_bytes(output.past_key_values), times, least)


def end_tokens(model: PreTrainedModel) -> list[int]:
    """The tokens that end an answer, as the checkpoint's generation_config has them; ascending."""
    given = model.generation_config.eos_token_id
    return [] if given is None else sorted(set(torch.as_tensor(given).reshape(-1).tolist()))


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, decoding: Decoding) -> list[StoppingCriteria]:
    """What ends an answer before its longest."""
    ends: list[StoppingCriteria] = []
    if tokens := end_tokens(model):
        ends.append(EosTokenCriteria(torch.tensor(tokens)))
    if decoding.until:
        ends.append(StopStringCriteria(tokenizer, list(decoding.until)))
    return ends


def cache_bytes(cache: Any) -> int:
    """Bytes of the keys and values that a transformers cache holds, all layers together."""
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.is_initialized)


def iterate_in_thread(work: Callable[[Callable[..., None]], None], stop: threading.Event) -> Generator[Any, None, None]:
    """Run `work(emit)` on a thread of its own and yield what it emits; what it raises is raised here.

    The model goes on while whoever iterates shows an item. All model work stays on that one thread, whichever thread
    resumes the generator. `emit(item, wait=True)` comes back when the next item is asked for, so that nobody else is at
    work, or when the iteration is given up. Then `stop` is set and the thread is waited for: `work` should look at it.
    """
    items: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    asked: SimpleQueue[None] = SimpleQueue()  # one entry for each item of which `work` waits to be told

    def emit(item: Any, *, wait: bool = False) -> None:
        items.put(("waited for" if wait else "item", item))
        if wait and not stop.is_set():
            asked.get()

    def run() -> None:
        try:
            work(emit)
        except BaseException as error:
            items.put(("error", error))
        else:
            items.put(("end", None))

    thread = threading.Thread(target=run, name="comparison", daemon=True)
    thread.start()
    try:
        while (item := items.get())[0] in ("item", "waited for"):
            yield item[1]
            if item[0] == "waited for":
                asked.put(None)
        if item[0] == "error":
            raise item[1]
    finally:
        stop.set()
        asked.put(None)
        thread.join()


class _Margins(LogitsProcessor):
    """Notes of each token how much likelier it was than the next likeliest, and changes nothing."""

    def __init__(self) -> None:
        self.by_step: list[torch.Tensor] = []  # (batch,) each, on the model's device: nothing waits for them

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        first, second = scores.float().softmax(dim=-1).topk(2, dim=-1).values.unbind(dim=-1)
        self.by_step.append(first - second)
        return scores

    def least(self, counts: Sequence[int]) -> tuple[float, ...]:
        """The smallest of each prompt's answer, of so many tokens."""
        found = torch.stack(self.by_step).cpu()
        return tuple(float(found[:count, row].min()) for row, count in enumerate(counts))


class _Watch(StoppingCriteria):
    """Looks on after each token: notes when it came, counts each prompt's tokens up to its end, and may stop all.

    It turns no token into text: that would be timed with the model's work.
    """

    def __init__(
        self,
        prompt_length: int,
        ends: Sequence[StoppingCriteria],
        clock: Clock,
        on_token: Callable[[tuple[int, ...]], None] | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self.prompt_length, self.ends, self.clock = prompt_length, ends, clock
        self.on_token, self.should_stop = on_token, should_stop
        self.stopped = False
        self.times: list[float] = []
        self.counts: torch.Tensor | None = None  # tokens of each prompt so far, (batch,)
        self._going_on: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.times.append(self.clock.now())
        ended = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        for end in self.ends:
            ended |= end(input_ids, scores)
        if self.counts is None or self._going_on is None:
            self.counts, self._going_on = torch.zeros_like(ended, dtype=torch.long), torch.ones_like(ended)
        if self.counts.shape == ended.shape:
            self.counts += self._going_on
            self._going_on &= ~ended
        if self.on_token is not None:
            self.on_token(tuple(input_ids[0, self.prompt_length :].tolist()))
        self.stopped = self.stopped or self.should_stop()
        return ended | self.stopped
