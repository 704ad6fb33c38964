"""One picture and one question, ready to be answered in two ways, and what the answers come to: a `Comparison`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.models.devices import describe_device
from fitprune_core.models.family import visual_mask
from fitprune_core.models.layout import visual_layout
from fitprune_core.models.loading import model_name
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import Answer, Way
from fitprune_core.run.asked import as_asked
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.results import Comparison, Pruning, Run, fates, normalised
from fitprune_core.run.timing import Times


class Request:
    """A picture and a question, checked and ready to be answered in two ways."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        image: Image.Image,
        question: str,
        ways: tuple[Way, Way],
        max_new_tokens: int,
    ) -> None:
        self.model, self.processor = model, processor
        self.decoding = Decoding(max_new_tokens)
        self._take(ways)
        asked = as_asked(model, processor, image, question, max_new_tokens=max_new_tokens)
        self.question, self.inputs = asked.question, asked.inputs
        self.layout = visual_layout(model.config, processor, asked.picture.size)
        ids = self.inputs["input_ids"]
        self.num_visual, self.num_tokens = int(visual_mask(model.config, ids).sum()), ids.shape[1]
        if self.layout.num_tokens != self.num_visual:
            raise ValueError(
                f"the processor made {self.num_visual} visual tokens of a picture that should give "
                f"{self.layout.num_tokens}; its settings do not fit {model_name(model)}"
            )
        geometry = DecoderGeometry.from_config(model.config.text_config)
        for way in ways:
            way.check(geometry, self.num_visual)

    def _take(self, ways: tuple[Way, Way]) -> None:
        found = [warning for way in ways for warning in way.warnings_on(self.model, self.processor)]
        self.ways, self.warnings = ways, tuple(dict.fromkeys(found))

    def in_ways(self, ways: tuple[Way, Way]) -> Request:
        """The same request in other ways. Raises ValueError for ways that the model cannot be answered in."""
        other = copy.copy(self)
        other._take(ways)
        return other

    def describe(self) -> str:
        """The request in words."""
        return f"a prompt of {self.num_tokens} tokens, {self.num_visual} of them visual"

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The answer that tokens spell."""
        return self.processor.tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()

    def result(self, answers: Sequence[Answer], times: Sequence[Times], timing: str) -> Comparison:
        """Put everything together."""
        first, second = (self._pruning(way, each) for way, each in zip(self.ways, answers, strict=True))
        original, pruned = (self._run(each, time) for each, time in zip(answers, times, strict=True))
        return Comparison(
            **vars(second),
            model=model_name(self.model),
            device=describe_device(self.model),
            question=self.question,
            layout=self.layout,
            original=original,
            pruned=pruned,
            agree=normalised(original.answer) == normalised(pruned.answer),
            timing=timing,
            warnings=self.warnings,
            against=None if self.ways[0].recipe is None else first,
        )

    def _pruning(self, way: Way, answer: Answer) -> Pruning:
        """What an answer's way did to the visual tokens."""
        config, trace = self.model.config, answer.trace
        layers, everything = config.text_config.num_hidden_layers, tuple(range(self.num_visual))
        kept, dropped = [everything] * layers, [()] * layers
        kept_before, dropped_before = None, ()
        if trace is not None:
            kept, dropped = ([tuple(tokens.tolist()) for tokens in part] for part in (trace.kept, trace.dropped))
            if trace.kept_before is not None and trace.dropped_before is not None:
                kept_before = tuple(trace.kept_before.tolist())
                dropped_before = tuple(trace.dropped_before.tolist())
        recipe = way.recipe or PruningRecipe.empty(layers, self.num_visual, model_name(self.model))
        dropped_after, rank = fates(dropped, self.num_visual, dropped_before)
        return Pruning(
            reduction=recipe.reduction,
            achieved_reduction=visual_reduction(config, answer.removed, self.num_visual, len(dropped_before)),
            recipe=recipe,
            method=way.name,
            procedure=recipe.procedure,
            removed=answer.removed,
            kept=tuple(kept),
            dropped_after=dropped_after,
            rank=rank,
            kept_before=kept_before,
            stay=way.paint.stay,
            go=way.paint.go,
        )

    def _run(self, answer: Answer, times: Times) -> Run:
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
            token_ids=answer.token_ids,
            pieces=pieces_of(answer.token_ids, self.text_of),
            margin=answer.margin,
        )


def pieces_of(token_ids: Sequence[int], text_of: Callable[[Sequence[int]], str]) -> tuple[str, ...]:
    """The text that each token adds to an answer; a character of several tokens comes with its last."""
    texts = [""]
    for count in range(1, len(token_ids) + 1):
        text = text_of(token_ids[:count])
        texts.append(texts[-1] if text.endswith("\ufffd") else text)
    return tuple(after[len(before) :] for before, after in pairwise(texts))
