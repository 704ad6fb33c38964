"""One picture, one question, one model: the original answer, the pruned one, and what pruning them changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import visual_reduction
from fitprune_core.models.devices import describe_device
from fitprune_core.models.exclusive import exclusive_use, free_model
from fitprune_core.models.family import visual_mask
from fitprune_core.models.layout import image_aspect, visual_layout
from fitprune_core.models.loading import model_name
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.pruning.methods import Method, find_method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import UNPRUNED, Answer, Way, answer, prepare
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.generation import iterate_in_thread
from fitprune_core.run.pixels import load_rgb
from fitprune_core.run.questions import check_question
from fitprune_core.run.results import Answered, Comparison, Partial, Run, fates, normalised
from fitprune_core.run.timing import Clock, Paired, Side, Stopped, Times, medians, paired, paired_rounds

__all__ = ["Answered", "Comparison", "Partial", "Run", "compare", "normalised", "stream_comparison"]

logger = logging.getLogger(__name__)

# The measurement after the answers: rounds that warm up, rounds that count, and the seconds that these may take.
WARMUP = 1
REPEATS = 15
MEASURING_SECONDS = 5.0
# Two answers that took longer than this while they were streamed are not measured anew.
REPEATABLE_SECONDS = 10.0
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
    method: str | Method = "fitprune",
    max_new_tokens: int = 64,
    should_stop: Callable[[], bool] = lambda: False,
    warmup: int = WARMUP,
    repeats: int = REPEATS,
    clock: Clock | None = None,
) -> Iterator[Partial | Answered | Comparison]:
    """Answer a question twice, with the model as it is and pruned; the last item is the `Comparison`.

    Both runs decode greedily from one set of weights, streamed one after the other as `Partial` items. When they are
    done `Answered` comes, with all but the times. Then both are timed anew, in turns, without streaming: `warmup`
    rounds that do not count, then up to `repeats` that do, as many as fit into `MEASURING_SECONDS`. Answers that took
    longer than `REPEATABLE_SECONDS`, or `repeats=0`, keep the times of the streamed runs; `timing` says which. The
    model works on a thread of its own and is held by it until the end.

    should_stop is asked after every token; once it is true the stream ends without a `Comparison`. Raises, at once,
    ValueError for a question, picture, recipe or method that cannot be, and inside a block that prunes the model;
    later, MemoryError when the device runs out of memory, and whatever the model raises.
    """
    if warmup < 0 or repeats < 0:
        raise ValueError(f"warmup={warmup}, repeats={repeats}: neither may be less than 0")
    request = _Request(free_model(model), processor, image, question, recipe, find_method(method), max_new_tokens)
    clock = clock or Clock(model.device)
    return _stream(request, should_stop, partial(_run_both, request, clock, warmup, repeats))


def _stream(
    request: _Request, should_stop: Callable[[], bool], work: Callable[..., Comparison]
) -> Iterator[Partial | Answered | Comparison]:
    stop = threading.Event()
    decode = request.text_of
    texts = {"original": "", "pruned": ""}
    run = partial(work, should_stop=lambda: stop.is_set() or should_stop())
    explained = partial(with_memory_explained, device=request.model.device, what=request.describe())
    try:
        for item in iterate_in_thread(lambda emit: emit(explained(partial(run, emit))), stop):
            if isinstance(item, Answered | Comparison):
                yield item
                continue
            stage, token_ids = item
            # A character of several tokens is shown when it is whole.
            texts[stage] = decode(token_ids).rstrip("\ufffd")
            yield Partial(stage, **texts)
    except Stopped:
        return


def _run_both(
    request: _Request,
    clock: Clock,
    warmup: int,
    repeats: int,
    emit: Callable[[tuple[str, tuple[int, ...]] | Answered], None],
    should_stop: Callable[[], bool],
) -> Comparison:
    """Both runs and their times, on the thread that holds the model."""
    model = request.model
    with exclusive_use(model), torch.no_grad():
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
            for stage, way in request.ways.items()
        ]
        seconds = sum(each.times.prefill_ms + each.times.decode_ms for each in answers) / 1e3
        streamed = request.result(answers, [each.times for each in answers], _STREAMED)
        emit(Answered(streamed))
        if repeats < 1 or seconds > REPEATABLE_SECONDS:
            return streamed
        rounds = paired_rounds(
            model,
            request.inputs.to(model.device),
            [
                Side(partial(way.applied_to, model), each.token_ids)
                for way, each in zip(request.ways.values(), answers, strict=True)
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


def _emit_stage(
    emit: Callable[[tuple[str, tuple[int, ...]] | Answered], None], stage: str, token_ids: tuple[int, ...]
) -> None:
    emit((stage, token_ids))


class _Request:
    """One request, checked and ready to run."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        image: Image.Image,
        question: str,
        recipe: PruningRecipe,
        method: Method,
        max_new_tokens: int,
    ) -> None:
        self.model, self.processor, self.recipe, self.method = model, processor, recipe, method
        self.decoding = Decoding(max_new_tokens)
        self.question = check_question(question)
        image = load_rgb(image)
        recipe.check_model(model.config.text_config.num_hidden_layers, model_name(model))
        self.warnings = recipe.warnings_for(model_name(model), image_aspect(model.config, processor))
        for warning in self.warnings:
            logger.warning(warning)
        self.ways = {"original": UNPRUNED, "pruned": Way(recipe, method)}
        self.inputs = prepare(model, processor, image, self.question, max_new_tokens=max_new_tokens)
        self.layout = visual_layout(model.config, processor, image.size)
        ids = self.inputs["input_ids"]
        self.num_visual, self.num_tokens = int(visual_mask(model.config, ids).sum()), ids.shape[1]
        if self.layout.num_tokens != self.num_visual:
            raise ValueError(
                f"the processor made {self.num_visual} visual tokens of a picture that should give "
                f"{self.layout.num_tokens}; its settings do not fit {model_name(model)}"
            )

    def describe(self) -> str:
        """The request in words."""
        return f"a prompt of {self.num_tokens} tokens, {self.num_visual} of them visual"

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The answer that tokens spell."""
        return self.processor.tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()

    def result(self, answers: Sequence[Answer], times: Sequence[Times], timing: str) -> Comparison:
        """Put everything together."""
        config, name, trace = self.model.config, model_name(self.model), answers[1].trace
        if trace is None:
            raise ValueError("the second answer is the unpruned model's as well: nothing was dropped for it")
        kept, dropped = ([tuple(tokens.tolist()) for tokens in part] for part in (trace.kept, trace.dropped))
        kept_before = None if trace.kept_before is None else tuple(trace.kept_before.tolist())
        dropped_before = () if trace.dropped_before is None else tuple(trace.dropped_before.tolist())
        removed = answers[1].removed
        original, pruned = (_run(each, time) for each, time in zip(answers, times, strict=True))
        dropped_after, rank = fates(dropped, self.num_visual, dropped_before)
        return Comparison(
            model=name,
            device=describe_device(self.model),
            question=self.question,
            reduction=self.recipe.reduction,
            achieved_reduction=visual_reduction(config, removed, self.num_visual, len(dropped_before)),
            recipe=self.recipe,
            method=self.method.label,
            procedure=self.recipe.procedure,
            removed=removed,
            kept=tuple(kept),
            dropped_after=dropped_after,
            rank=rank,
            layout=self.layout,
            original=original,
            pruned=pruned,
            agree=normalised(original.answer) == normalised(pruned.answer),
            timing=timing,
            warnings=self.warnings,
            kept_before=kept_before,
        )


def _run(answer: Answer, times: Times) -> Run:
    steps, cost = len(answer.token_ids) - 1, answer.cost
    return Run(
        answer=answer.text,
        new_tokens=len(answer.token_ids),
        prefill_ms=times.prefill_ms,
        decode_ms=times.decode_ms,
        visual_gflops=cost.visual / 1e9,
        total_gflops=cost.request.total / 1e9,
        kv_cache_bytes=answer.kv_cache_bytes,
        per_token_ms=times.decode_ms / steps if steps else None,
        total_ms=times.prefill_ms + times.decode_ms,
        flops=cost.request,
    )
