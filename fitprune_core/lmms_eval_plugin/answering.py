"""One request of a benchmark: a document's pictures and prompt in, an answer and what it cost out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.lmms_eval_plugin.arguments import Arguments
from fitprune_core.lmms_eval_plugin.decoding import Decoding
from fitprune_core.models.exclusive import exclusive_use
from fitprune_core.models.layout import image_aspect
from fitprune_core.models.loading import load_model, model_name
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.models.options import LoadOptions
from fitprune_core.models.prompts import build_inputs
from fitprune_core.pruning.context import PruningTrace, prune_visual_tokens
from fitprune_core.pruning.methods import find_method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.store import recipe_source
from fitprune_core.run.costs import RequestCost, request_cost
from fitprune_core.run.pictures import load_rgb


@dataclass(frozen=True)
class Reply:
    """An answer: its text, the tokens of prompt and answer, the seconds it took, and its FLOPs.

    With beams the FLOPs are those of one beam.
    """

    text: str
    prompt_tokens: int
    new_tokens: int
    seconds: float
    cost: RequestCost


class Answerer:
    """A model and the budget that it runs at.

    recipe: what goes at each layer, or None for the model as it is. method: what ranks the tokens. Raises ValueError
    for a recipe of a model of another depth.
    """

    def __init__(
        self, model: PreTrainedModel, processor: ProcessorMixin, recipe: PruningRecipe | None, method: str
    ) -> None:
        self.model, self.processor, self.method = model, processor, find_method(method)
        if recipe is not None:
            aspect = image_aspect(model.config, processor)
            recipe.check_model(model.config.text_config.num_hidden_layers, model_name(model), aspect)
            # Every request would warn anew that the recipe is another checkpoint's; once is enough.
            recipe = replace(recipe, model=model_name(model))
        self.recipe = recipe

    @classmethod
    def load(cls, arguments: Arguments, device: str) -> Answerer:
        """Load what the arguments name, on a device. Raises ValueError as `load_model` and `recipe_source` do."""
        # A recipe that cannot be read is found out before a model is loaded.
        recipe = PruningRecipe.load(arguments.recipe) if arguments.recipe else None
        options = {name: getattr(arguments, name) for name in LoadOptions.names() if name != "device"}
        model, processor = load_model(arguments.pretrained, device=device, **options)
        if arguments.reduction:
            geometry = DecoderGeometry.from_config(model.config)
            recipe = recipe_source(model_name(model), geometry, arguments.recipes)(arguments.reduction)
        return cls(model, processor, recipe, arguments.method)

    def reply(self, pictures: Sequence[Any] | None, context: str, decoding: Decoding, place: str) -> Reply:
        """Answer one request.

        pictures: of the document; none, and the prompt is text, which nothing is pruned from. context: the prompt.
        place: task and document, for messages. Raises ValueError for several pictures, for what is no picture, for an
        image marker amid the text, and for a prompt that is too long; MemoryError when the device runs out of memory.
        """
        picture = one_picture(pictures, place)
        question = question_of(context, picture is not None, self.processor.image_token, place)
        inputs = build_inputs(self.processor, picture, question).to(self.model.device)
        length, longest = inputs["input_ids"].shape[1], self.model.config.text_config.max_position_embeddings
        if length + decoding.max_new_tokens > longest:
            raise ValueError(
                f"{place}: the prompt has {length} tokens and the answer up to {decoding.max_new_tokens}; the model "
                f"reads {longest}, so set a smaller max_new_tokens"
            )
        return with_memory_explained(partial(self._generate, inputs, decoding), self.model.device, place)

    def _pruning(self) -> AbstractContextManager[PruningTrace | None]:
        if self.recipe is None:
            return nullcontext()
        return prune_visual_tokens(self.model, self.recipe, method=self.method)

    def _generate(self, inputs: BatchFeature, decoding: Decoding) -> Reply:
        length, tokenizer = inputs["input_ids"].shape[1], self.processor.tokenizer
        pruning = (
            nullcontext() if self.recipe is None else prune_visual_tokens(self.model, self.recipe, method=self.method)
        )
        with exclusive_use(self.model), torch.no_grad(), pruning as trace:
            started = time.perf_counter()
            output = self.model.generate(**inputs, **decoding.arguments(tokenizer))
            token_ids = output[0, length:].tolist()  # waits for the device
            seconds = time.perf_counter() - started
        if trace is None:
            removed = [0] * self.model.config.text_config.num_hidden_layers
        else:
            removed = [dropped.shape[-1] for dropped in trace.dropped]
        return Reply(
            text=decoding.cut(tokenizer.decode(token_ids, skip_special_tokens=True)),
            prompt_tokens=length,
            new_tokens=len(token_ids),
            seconds=seconds,
            cost=request_cost(self.model, inputs, removed, len(token_ids), self.method.scores),
        )


def one_picture(pictures: Sequence[Any] | None, place: str) -> Image.Image | None:
    """The document's picture as RGB, or None where it has none. Raises ValueError for more, and for other media."""
    if not pictures:
        return None
    if len(pictures) > 1:
        raise ValueError(f"{place} has {len(pictures)} pictures; fitprune_llava takes one, so choose another task")
    (picture,) = pictures
    if not isinstance(picture, Image.Image):
        raise ValueError(f"{place} comes with a {type(picture).__name__}, not a picture; fitprune_llava sees pictures")
    return load_rgb(picture, f"the picture of {place}")


def question_of(context: str, has_picture: bool, marker: str, place: str) -> str:
    """The prompt without the image marker that some tasks write in front of it: the chat template puts its own there.

    Raises ValueError for a marker elsewhere, whose picture would be shown at another place than the task means.
    """
    if marker not in context:
        return context
    start, _, question = context.partition(marker)
    if start.strip() or marker in question or not has_picture:
        raise ValueError(f"{place} has {marker} where fitprune_llava cannot put its picture; one may open the prompt")
    return question.lstrip()
