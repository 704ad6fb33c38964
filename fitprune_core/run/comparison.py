"""One picture, one question, one model, two ways to answer: as it is and pruned, or any two; and what that changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.checks.numbers import whole
from fitprune_core.models.exclusive import exclusive_use, model_for_another_thread
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.pruning.methods import Method
from fitprune_core.pruning.paint import Paint
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import UNPRUNED, Answer, Way, answer
from fitprune_core.run.generation import iterate_in_thread
from fitprune_core.run.request import Request
from fitprune_core.run.results import Answered, Comparison, Partial, Run, normalised
from fitprune_core.run.timing import Clock, Paired, Side, Stopped, Times, medians, paired, paired_rounds

__all__ = ["Answered", "Comparison", "Partial", "Run", "compare", "normalised", "stream_comparison"]

logger = logging.getLogger(__name__)

# The measurement after the answers: rounds that warm up, rounds that count, and the seconds that these may take.
WARMUP = 1
REPEATS = 15
MEASURING_SECONDS = 5.0
# Two answers that took longer than this while they were streamed are not measured anew.
REPEATABLE_SECONDS = 10.0
_STAGES = ("original", "pruned")  # what `Partial` calls the first answer and the second
_STREAMED = "once, while the answers were streamed, without a warm-up."


def compare(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    image: Image.Image,
    question: str,
    recipe: PruningRecipe,
    **options: Any,
) -> Comparison:
    """The `Comparison` of one request; options are those of `stream_comparison`. Raises `Stopped` if it was stopped."""
    for item in stream_comparison(model, processor, image, question, recipe, **options):
        if isinstance(item, Comparison):
            return item
    raise Stopped("the comparison was stopped before it was done")


def stream_comparison(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    image: Image.Image,
    question: str,
    recipe: PruningRecipe,
    *,
    method: str | Method | type[Method] = "fitprune",
    against: Way | str | Method | type[Method] = UNPRUNED,
    stay: Sequence[int] = (),
    go: Sequence[int] = (),
    max_new_tokens: int = 64,
    should_stop: Callable[[], bool] = lambda: False,
    warmup: int = WARMUP,
    repeats: int = REPEATS,
    clock: Clock | None = None,
) -> Iterator[Partial | Answered | Comparison]:
    """Answer a question twice, with the model as it is and pruned; the last item is the `Comparison`.

    recipe, method: how the second answer is pruned; method "original" leaves it as it is. against: another first way
    than the model as it is, such as `Way.of(recipe, "random:seed=1")`; a method alone goes by `recipe` as well. At
    equal budgets both do equal work.
    stay, go: visual tokens, by number, that must stay in the second answer, or go first, see `prune_visual_tokens`.

    Both runs decode greedily from one set of weights, streamed one after the other as `Partial` items. When they are
    done `Answered` comes, with all but the times. Then both are timed anew, in turns, without streaming: `warmup`
    rounds that do not count, then up to `repeats` that do, as many as fit into `MEASURING_SECONDS`. Answers that took
    longer than `REPEATABLE_SECONDS`, or `repeats=0`, keep the times of the streamed runs; `timing` says which. The
    model works on a thread of its own, under the caller's `torch.autocast`, and is held by it but for one moment: the
    measurement begins when the item after `Answered` is asked for, so that whatever the caller does in between costs
    nobody time.

    should_stop is asked after every token; once it is true the stream ends without a `Comparison`. Raises, at once,
    ValueError for a question, picture, recipe or method that cannot be, and inside a block that prunes or holds the
    model (where the first item, or the one after `Answered`, is asked for in such a block, there); later, MemoryError
    when the device runs out of memory, and whatever the model raises.
    """
    warmup, repeats = whole("warmup", warmup, 0), whole("repeats", repeats, 0)
    first = against if isinstance(against, Way) else Way.of(recipe, against)
    ways = (first, Way.of(recipe, method, Paint.of(stay, go)))
    request = Request(model_for_another_thread(model), processor, image, question, ways, max_new_tokens)
    for warning in request.warnings:
        logger.warning(warning)
    clock = clock or Clock(model.device)
    within = _autocast_of_here(model.device)
    return _stream(request, should_stop, partial(_run_both, request, clock, warmup, repeats, within))


def _stream(
    request: Request, should_stop: Callable[[], bool], work: Callable[..., Comparison]
) -> Iterator[Partial | Answered | Comparison]:
    stop = threading.Event()
    decode = request.text_of
    texts = dict.fromkeys(_STAGES, "")
    run = partial(work, should_stop=lambda: stop.is_set() or should_stop())
    explained = partial(with_memory_explained, device=request.model.device, what=request.describe())
    model_for_another_thread(request.model)
    try:
        # Closed here, and not when the error of a refusal is forgotten: its thread waits to go on.
        with closing(iterate_in_thread(lambda emit: emit(explained(partial(run, emit))), stop)) as items:
            for item in items:
                if isinstance(item, Answered | Comparison):
                    yield item
                    if isinstance(item, Answered):
                        model_for_another_thread(request.model)  # what is measured next is measured there
                    continue
                stage, token_ids = item
                # A character of several tokens is shown when it is whole.
                texts[stage] = decode(token_ids).rstrip("\ufffd")
                yield Partial(stage, **texts)
    except Stopped:
        return


def _run_both(
    request: Request,
    clock: Clock,
    warmup: int,
    repeats: int,
    within: Callable[[], AbstractContextManager],
    emit: Callable[..., None],
    should_stop: Callable[[], bool],
) -> Comparison:
    """Both runs and their times, on the thread that holds the model. within: what each is done inside of."""
    model = request.model
    with exclusive_use(model), within(), torch.no_grad():
        answers = [
            answer(
                model,
                request.processor,
                [request.inputs],
                way,
                request.decoding,
                on_token=partial(_emit_stage, emit, stage),
                should_stop=should_stop,
                clock=clock,
            )[0]
            for stage, way in zip(_STAGES, request.ways, strict=True)
        ]
        seconds = sum(each.times.prefill_ms + each.times.decode_ms for each in answers) / 1e3
        streamed = request.result(answers, [each.times for each in answers], _STREAMED)
    if repeats < 1 or seconds > REPEATABLE_SECONDS:
        emit(Answered(streamed))
        return streamed
    # Nobody is kept from the model while the caller makes use of the answers.
    emit(Answered(streamed), wait=True)
    if should_stop():
        raise Stopped
    with exclusive_use(model), within(), torch.no_grad():
        rounds = paired_rounds(
            model,
            request.inputs.to(model.device),
            [
                Side(partial(way.applied_to, model), each.token_ids)
                for way, each in zip(request.ways, answers, strict=True)
            ],
            clock,
            warmup=warmup,
            repeats=repeats,
            seconds=MEASURING_SECONDS,
            should_stop=should_stop,
        )
    count = len(rounds)
    timing = (
        f"median of {count} run{'s' if count > 1 else ''} of each, in turns, after the streamed run and {warmup} "
        f"warm-up{'s' if warmup != 1 else ''}; the model's work alone, without streaming."
    )
    return replace(request.result(answers, medians(rounds), timing), paired=_paired(answers, rounds))


def _autocast_of_here(device: torch.device) -> Callable[[], AbstractContextManager]:
    """The caller's `torch.autocast`, which other threads know nothing of, to be entered on one of them."""
    kind = device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return nullcontext
    dtype, cached = torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled()
    return partial(torch.autocast, kind, dtype, cache_enabled=cached)


def _paired(answers: Sequence[Answer], rounds: Sequence[Sequence[Times]]) -> dict[str, Paired | None]:
    """What may be said about the times of both sides; see `Comparison.paired`."""
    steps = [len(each.token_ids) - 1 for each in answers]
    return {
        "prefill": paired(rounds, lambda side, times: times.prefill_ms),
        "per_token": paired(rounds, lambda side, times: times.decode_ms / steps[side]) if all(steps) else None,
        "total": paired(rounds, lambda side, times: times.prefill_ms + times.decode_ms)
        if steps[0] == steps[1]
        else None,
    }


def _emit_stage(emit: Callable[..., None], stage: str, token_ids: tuple[int, ...]) -> None:
    emit((stage, token_ids))
