"""One picture and one question, ready to be answered by both sides, and what the answers come to: a `Comparison`."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import visual_reduction
from fitprune_core.models.devices import describe_device
from fitprune_core.models.family import visual_mask
from fitprune_core.models.layout import image_aspect, visual_layout
from fitprune_core.models.loading import model_name
from fitprune_core.pruning.methods import Method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import UNPRUNED, Answer, Way, prepare
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.pixels import load_rgb
from fitprune_core.run.questions import check_question
from fitprune_core.run.results import Comparison, Run, fates, normalised
from fitprune_core.run.timing import Times


class Request:
    """A picture and a question, checked and ready to run with the model as it is and in one way pruned."""

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
        self.model, self.processor = model, processor
        self.decoding = Decoding(max_new_tokens)
        self.question = check_question(question)
        image = load_rgb(image)
        self._take(recipe, method)
        self.inputs = prepare(model, processor, image, self.question, max_new_tokens=max_new_tokens)
        self.layout = visual_layout(model.config, processor, image.size)
        ids = self.inputs["input_ids"]
        self.num_visual, self.num_tokens = int(visual_mask(model.config, ids).sum()), ids.shape[1]
        if self.layout.num_tokens != self.num_visual:
            raise ValueError(
                f"the processor made {self.num_visual} visual tokens of a picture that should give "
                f"{self.layout.num_tokens}; its settings do not fit {model_name(model)}"
            )

    def _take(self, recipe: PruningRecipe, method: Method) -> None:
        model = self.model
        recipe.check_model(model.config.text_config.num_hidden_layers, model_name(model))
        self.recipe, self.method = recipe, method
        self.warnings = recipe.warnings_for(model_name(model), image_aspect(model.config, self.processor))
        self.ways = {"original": UNPRUNED, "pruned": Way(recipe, method)}

    def pruned_by(self, recipe: PruningRecipe, method: Method) -> Request:
        """The same request, pruned in another way. Raises ValueError for a recipe of another depth."""
        other = copy.copy(self)
        other._take(recipe, method)
        return other

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
