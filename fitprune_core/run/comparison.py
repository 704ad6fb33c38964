"""One picture, one question, one model: the original answer, the pruned one, and what pruning them changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import visual_reduction
from fitprune_core.models.devices import describe_device
from fitprune_core.models.exclusive import exclusive_use
from fitprune_core.models.family import visual_mask
from fitprune_core.models.layout import image_aspect, visual_layout
from fitprune_core.models.loading import model_name
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.models.prompts import build_inputs
from fitprune_core.pruning.context import PruningTrace, prune_visual_tokens
from fitprune_core.pruning.methods import Method, find_method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.costs import request_cost
from fitprune_core.run.generation import Generated, generate_greedily, iterate_in_thread
from fitprune_core.run.pictures import check_question, load_rgb
from fitprune_core.run.results import Comparison, Partial, Run, fates, normalised
from fitprune_core.run.timing import Clock, Side, Stopped, Times, paired_medians

__all__ = ["Comparison", "Partial", "Run", "compare", "normalised", "stream_comparison"]

# The measurement after the answers: rounds that warm up, rounds that count, and the seconds that these may take.
WARMUP = 1
REPEATS = 5
MEASURING_SECONDS = 5.0
# Two answers that took longer than this while they were streamed are not measured anew.
REPEATABLE_SECONDS = 10.0


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
) -> Iterator[Partial | Comparison]:
    """Answer a question twice, with the model as it is and pruned; the last item is the `Comparison`.

    Both runs decode greedily from one set of weights, streamed one after the other as `Partial` items. Then both are
    timed anew, in turns, without streaming: `warmup` rounds that do not count, then up to `repeats` that do, as many as
    fit into `MEASURING_SECONDS`. Answers that took longer than `REPEATABLE_SECONDS`, or `repeats=0`, keep the times of
    the streamed runs; `timing` says which. The model works on a thread of its own and is held by it until the end.

    should_stop is asked after every token; once it is true the stream ends without a `Comparison`. Raises, at once,
    ValueError for a question, picture, recipe or method that cannot be; later, MemoryError when the device runs out of
    memory, and whatever the model raises.
    """
    if max_new_tokens < 1 or warmup < 0 or repeats < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens}, warmup={warmup}, repeats={repeats}: none may be less")
    request = _Request(model, processor, image, question, recipe, find_method(method), max_new_tokens)
    clock = clock or Clock(model.device)
    return _stream(request, should_stop, partial(_run_both, request, clock, warmup, repeats))


def _stream(
    request: _Request, should_stop: Callable[[], bool], work: Callable[..., Comparison]
) -> Iterator[Partial | Comparison]:
    stop = threading.Event()
    decode = request.text_of
    texts = {"original": "", "pruned": ""}
    run = partial(work, should_stop=lambda: stop.is_set() or should_stop())
    explained = partial(with_memory_explained, device=request.model.device, what=request.describe())
    try:
        for item in iterate_in_thread(lambda emit: emit(explained(partial(run, emit))), stop):
            if isinstance(item, Comparison):
                yield item
                return
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
    emit: Callable[[tuple[str, tuple[int, ...]]], None],
    should_stop: Callable[[], bool],
) -> Comparison:
    """Both runs and their times, on the thread that holds the model."""
    model = request.model
    generate = partial(
        generate_greedily, model, max_new_tokens=request.max_new_tokens, should_stop=should_stop, clock=clock
    )
    pruning = partial(prune_visual_tokens, model, request.applied_recipe, method=request.method)
    with exclusive_use(model), torch.no_grad():
        inputs = request.inputs.to(model.device)
        original = generate(inputs, on_token=lambda ids: emit(("original", ids)))
        with pruning() as trace:
            pruned = generate(inputs, on_token=lambda ids: emit(("pruned", ids)))
        trace = PruningTrace(trace.num_visual_tokens, list(trace.kept), list(trace.dropped))
        seconds = sum(run.times.prefill_ms + run.times.decode_ms for run in (original, pruned)) / 1e3
        if repeats < 1 or seconds > REPEATABLE_SECONDS:
            timing = "once, while the answers were streamed, without a warm-up."
            return request.result(trace, (original, pruned), (original.times, pruned.times), timing)
        times, rounds = paired_medians(
            model,
            inputs,
            [Side(nullcontext, original.token_ids), Side(pruning, pruned.token_ids)],
            clock,
            warmup=warmup,
            repeats=repeats,
            seconds=MEASURING_SECONDS,
            should_stop=should_stop,
        )
    timing = (
        f"median of {rounds} run{'s' if rounds > 1 else ''} of each, in turns, after the streamed run and {warmup} "
        f"warm-up{'s' if warmup != 1 else ''}; the model's work alone, without streaming."
    )
    return request.result(trace, (original, pruned), times, timing)


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
        self.max_new_tokens = max_new_tokens
        self.question = check_question(question)
        image = load_rgb(image)
        depth, aspect = model.config.text_config.num_hidden_layers, image_aspect(model.config, processor)
        self.warnings = recipe.check_model(depth, model_name(model), aspect)
        # Every pruned run would warn anew that the recipe is another checkpoint's; once is enough.
        self.applied_recipe = replace(recipe, model=model_name(model))
        self.inputs = build_inputs(processor, image, self.question)
        self.layout = visual_layout(model.config, processor, image.size)
        ids = self.inputs["input_ids"]
        self.num_visual, self.num_tokens = int(visual_mask(model.config, ids).sum()), ids.shape[1]
        if self.layout.num_tokens != self.num_visual:
            raise ValueError(
                f"the processor made {self.num_visual} visual tokens of a picture that should give "
                f"{self.layout.num_tokens}; its settings do not fit {model_name(model)}"
            )
        longest = model.config.text_config.max_position_embeddings
        if self.num_tokens + max_new_tokens > longest:
            raise ValueError(
                f"the prompt has {self.num_tokens} tokens and the answer up to {max_new_tokens}; "
                f"{model_name(model)} reads {longest} in all, so ask a shorter question"
            )

    def describe(self) -> str:
        """The request in words."""
        return f"a prompt of {self.num_tokens} tokens, {self.num_visual} of them visual"

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The answer that tokens spell."""
        return self.processor.tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()

    def result(self, trace: PruningTrace, runs: Sequence[Generated], times: Sequence[Times], timing: str) -> Comparison:
        """Count what ran, and put everything together."""
        config, name = self.model.config, model_name(self.model)
        kept, dropped = ([tuple(tokens.tolist()) for tokens in part] for part in (trace.kept, trace.dropped))
        removed = tuple(len(tokens) for tokens in dropped)
        original, pruned = (
            self._run(run, time, counts)
            for run, time, counts in zip(runs, times, ((0,) * len(removed), removed), strict=True)
        )
        dropped_after, rank = fates(dropped, self.num_visual)
        return Comparison(
            model=name,
            device=describe_device(self.model),
            question=self.question,
            reduction=self.recipe.reduction,
            achieved_reduction=visual_reduction(config, removed, self.num_visual),
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
        )

    def _run(self, run: Generated, times: Times, removed: Sequence[int]) -> Run:
        steps = len(run.token_ids) - 1
        cost = request_cost(self.model, self.inputs, removed, len(run.token_ids), self.method.scores)
        return Run(
            answer=self.text_of(run.token_ids),
            new_tokens=len(run.token_ids),
            prefill_ms=times.prefill_ms,
            decode_ms=times.decode_ms,
            visual_gflops=cost.visual / 1e9,
            total_gflops=cost.request.total / 1e9,
            kv_cache_bytes=run.kv_cache_bytes,
            per_token_ms=times.decode_ms / steps if steps else None,
            total_ms=times.prefill_ms + times.decode_ms,
            flops=cost.request,
        )
