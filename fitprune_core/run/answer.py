"""THE function that answers: one prompt or a batch, pruned or not, generated, counted and decoded in one place.

Comparison, evaluation and the lmms-eval plugin call it; whatever prepares a prompt for a model does so here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.exclusive import as_it_is, exclusive_use, free_model, uncompiled
from fitprune_core.models.layout import image_aspect
from fitprune_core.models.loading import model_name
from fitprune_core.models.prompts import build_inputs
from fitprune_core.pruning.context import PruningTrace, check_prunable, pruned
from fitprune_core.pruning.methods import Method, find_method
from fitprune_core.pruning.paint import UNPAINTED, Paint
from fitprune_core.recipes.recipe import PruningRecipe, check_recipe
from fitprune_core.run.batch import padded_together
from fitprune_core.run.costs import RequestCost, request_cost
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.generation import generate
from fitprune_core.run.results import ORIGINAL
from fitprune_core.run.seen import Seen
from fitprune_core.run.timing import Clock, Times


@dataclass(frozen=True)
class Way:
    """A way to answer: with visual tokens dropped, so many by a recipe, ranked by a method; or the model as it is.

    paint: what must stay or go whatever the method thinks of it.

    Whoever makes a way asks what speaks against it (`warnings_on`) before the first prompt, and says so; `answer` says
    nothing.
    """

    recipe: PruningRecipe | None = None
    method: Method | None = None
    paint: Paint = UNPAINTED

    def __post_init__(self) -> None:
        if (self.recipe is None) != (self.method is None):
            raise ValueError("a recipe says how many tokens go and a method which: give both, or neither")
        if self.recipe is not None and self.method is not None:
            check_recipe(self.recipe)
            object.__setattr__(self, "method", find_method(self.method))
        if self.paint and self.recipe is None:
            raise ValueError("nothing is pruned here, so no visual token needs to be told to stay or to go")

    @classmethod
    def of(cls, recipe: PruningRecipe | None, method: str | Method | type[Method], paint: Paint = UNPAINTED) -> Way:
        """The way of a method, by name too ("random:seed=1"); "original" is the model as it is, whatever the recipe."""
        return cls(paint=paint) if method == ORIGINAL else cls(recipe, find_method(method), paint)

    @property
    def name(self) -> str:
        """What results call it: the method's label, or "original"."""
        return self.method.label if self.method else ORIGINAL

    def reads(self, removed_before: int) -> str:
        """The attention computed only to rank tokens, given how many went before the decoder: as in `Method.scores`."""
        return self.method.scores_after(removed_before) if self.method else "none"

    @property
    def reads_tower(self) -> bool:
        """Whether the vision tower has to run for it, because the method ranks by the attention in there."""
        return self.method is not None and self.method.scores_before == "tower"

    def computes_before(self, removed_before: int) -> str:
        """What is computed before the decoder where so many tokens went there, see `Method.scores_entering`."""
        return self.method.scores_entering(removed_before) if self.method else "none"

    def applied_to(self, model: PreTrainedModel):
        """The block to run the model in; yields the trace, or None for the model as it is."""
        if self.recipe is None or self.method is None:
            return as_it_is(model)
        return pruned(model, self.recipe, self.method, paint=self.paint)

    def warnings_on(self, model: PreTrainedModel, processor: ProcessorMixin) -> tuple[str, ...]:
        """What speaks against the way's recipe for a model, in words.

        Raises ValueError for a way that no prompt of the model can be answered in, see `check_prunable`.
        """
        if self.recipe is None or self.method is None:
            return ()
        check_prunable(model, self.recipe, self.method)
        model = uncompiled(model)
        return self.recipe.warnings_for(model_name(model), image_aspect(model.config, processor))

    def check(self, geometry: DecoderGeometry, num_visual_tokens: int) -> None:
        """Raise ValueError for what was painted and cannot be, of a picture with so many visual tokens."""
        if self.paint and self.recipe is not None and self.method is not None:
            self.paint.check(self.method.drops(self.recipe, geometry, num_visual_tokens), num_visual_tokens)


UNPRUNED = Way()


@dataclass(frozen=True)
class Answer:
    """One answer and what it took.

    Attributes:
        text: without white space around it, before the first stop string.
        token_ids: all new tokens, the end-of-sequence token included where the answer ended by itself.
        prompt_tokens: tokens of the prompt, visual ones included.
        removed: visual tokens that each layer dropped.
        cost: counted, as if the prompt had been alone; with beams, of one beam.
        margin: how much likelier its least sure token was than the next likeliest, 0 to 1; None but for greedy answers.
        times, kv_cache_bytes: of the batch that it was part of, as a whole; measured.
        trace: what happened to the visual tokens of that batch; None for the model as it is.
    """

    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int
    removed: tuple[int, ...]
    cost: RequestCost
    times: Times
    kv_cache_bytes: int
    trace: PruningTrace | None
    margin: float | None = None


def prepare(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    picture: Image.Image | None,
    question: str,
    *,
    max_new_tokens: int = 0,
) -> BatchFeature:
    """A picture (or none) and a question as the model's inputs, on the CPU.

    Raises ValueError for a prompt that is too long for the model together with an answer of `max_new_tokens`.
    """
    inputs = build_inputs(processor, picture, question)
    length, longest = inputs["input_ids"].shape[1], model.config.text_config.max_position_embeddings
    if length + max_new_tokens > longest:
        answer, shorter = "", "a shorter question"
        if max_new_tokens:
            answer, shorter = f" and the answer up to {max_new_tokens}", "a shorter question or answer (max_new_tokens)"
        raise ValueError(f"the prompt has {length} tokens{answer}; the model reads {longest} in all, so try {shorter}")
    return inputs


def answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    prompts: Sequence[BatchFeature],
    way: Way,
    decoding: Decoding,
    *,
    on_token: Callable[[tuple[int, ...]], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
    seen: Seen | None = None,
) -> list[Answer]:
    """Answer prompts, all at once, in one way; answers are those of the prompts one at a time.

    Args:
        prompts: from `prepare`, of equal `batch.kind_of`. Those of other decoding than greedy come one at a time: what
            is drawn, or how beams are padded, would depend on the batch.
        on_token, should_stop, clock: as for `generation.generate`.
        seen: what the tower made of these prompts' pictures, one object for all ways that they are answered in; times
            to the first token are then without the tower's, but for ways that read it.

    The model is held by this thread meanwhile; a compiled one runs uncompiled in every way, so that ways compare.
    Raises ValueError for a batch that cannot be, for what the model cannot be pruned at, and inside a block that prunes
    the model already; `Stopped`; and whatever the model raises.
    """
    if len(prompts) > 1 and not decoding.is_greedy:
        raise ValueError(f"{len(prompts)} prompts came at once; with beams or sampling it is one at a time")
    model, tokenizer = free_model(model), processor.tokenizer
    inputs = padded_together(prompts, tokenizer).to(model.device)
    with exclusive_use(model), torch.no_grad():
        if seen is not None and not way.reads_tower:
            inputs = seen.in_place_of_pixels(model, inputs)
        with way.applied_to(model) as trace:
            run = generate(model, tokenizer, inputs, decoding, on_token=on_token, should_stop=should_stop, clock=clock)
        if trace is not None:
            trace = replace(trace, kept=list(trace.kept), dropped=list(trace.dropped))
    if trace is None:
        removed = (0,) * model.config.text_config.num_hidden_layers
    else:
        removed = tuple(dropped.shape[-1] for dropped in trace.dropped)
    dropped_before = None if trace is None else trace.dropped_before
    removed_before = 0 if dropped_before is None else dropped_before.shape[-1]
    return [
        Answer(
            text=decoding.cut(tokenizer.decode(list(token_ids), skip_special_tokens=True)),
            token_ids=token_ids,
            prompt_tokens=prompt["input_ids"].shape[1],
            removed=removed,
            cost=request_cost(
                model,
                prompt,
                removed,
                len(token_ids),
                way.reads(removed_before),
                removed_before=removed_before,
                scores_before=way.computes_before(removed_before),
            ),
            times=run.times,
            kv_cache_bytes=run.kv_cache_bytes,
            trace=trace,
            margin=margin,
        )
        for prompt, token_ids, margin in zip(prompts, run.token_ids, run.margins or [None], strict=True)
    ]
