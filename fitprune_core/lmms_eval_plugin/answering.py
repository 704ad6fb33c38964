"""One request of a benchmark: a document's pictures and prompt in, an answer and what it cost out."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.lmms_eval_plugin.arguments import Arguments
from fitprune_core.models.loading import load_model, model_name
from fitprune_core.models.options import LoadOptions
from fitprune_core.pruning.methods import find_method
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.store import recipe_for
from fitprune_core.run.answer import UNPRUNED, Way, answer, prepare
from fitprune_core.run.batch import BatchSize, in_batches, kind_of
from fitprune_core.run.costs import RequestCost
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.pixels import load_rgb
from fitprune_core.run.questions import IMAGE_MARKER, strip_image_marker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pending:
    """A request that is ready to be answered: its prompt, how it wants its answer, its name for messages, and which
    of many it is."""

    inputs: BatchFeature
    decoding: Decoding
    place: str
    number: int = 0


@dataclass(frozen=True)
class Reply:
    """An answer: its text, the tokens of prompt and answer, the seconds it took, and its FLOPs.

    Of a batch each has its share of the seconds. With beams the FLOPs are those of one beam.
    """

    text: str
    prompt_tokens: int
    new_tokens: int
    seconds: float
    cost: RequestCost


class Answerer:
    """A model and the budget that it runs at.

    recipe: what goes at each layer, or None for the model as it is. method: what ranks the tokens. batch_size: how many
    requests go at once. Raises ValueError as `Way.warnings_on` does.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        recipe: PruningRecipe | None,
        method: str,
        batch_size: int | str = 1,
    ) -> None:
        self.model, self.processor, self.recipe = model, processor, recipe
        self.batch_size = BatchSize(batch_size)
        self.way = UNPRUNED if recipe is None else Way(recipe, find_method(method))
        for warning in self.way.warnings_on(model, processor):
            logger.warning(warning)

    @classmethod
    def load(cls, arguments: Arguments, device: str) -> Answerer:
        """Load what the arguments name, on a device. Raises ValueError as `load_model` and `recipe_for` do."""
        # A recipe that cannot be read is found out before a model is loaded.
        recipe = PruningRecipe.load(arguments.recipe) if arguments.recipe else None
        options = {name: getattr(arguments, name) for name in LoadOptions.names() if name != "device"}
        model, processor = load_model(arguments.pretrained, device=device, **options)
        if arguments.reduction:
            geometry = DecoderGeometry.from_config(model.config)
            recipe = recipe_for(model_name(model), arguments.reduction, geometry=geometry, recipes=arguments.recipes)
        return cls(model, processor, recipe, arguments.method, arguments.batch_size)

    def ask(
        self, pictures: Sequence[Any] | None, context: str, decoding: Decoding, place: str, number: int = 0
    ) -> Pending:
        """Make one request ready.

        pictures: of the document; none, and the prompt is text, which nothing is pruned from. context: the prompt.
        place: task and document, for messages. number: which request of many it is. Raises ValueError for several
        pictures, for what is no picture, for an image marker amid the text, and for a prompt that is too long.
        """
        picture = one_picture(pictures, place)
        question = question_of(context, picture is not None, self.processor.image_token, place)
        try:
            inputs = prepare(self.model, self.processor, picture, question, max_new_tokens=decoding.max_new_tokens)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        return Pending(inputs, decoding, place, number)

    def replies(self, requests: Iterable[Pending]) -> Iterator[tuple[Pending, Reply]]:
        """Answer requests, those of one kind and of greedy decoding in batches; not in the order that they come in.

        Raises MemoryError when the device runs out of memory on a single one.
        """
        for batch in in_batches(((self._kind(asked), asked) for asked in requests), self._size):
            found: list[tuple[Pending, Reply]] = []
            work = partial(self._reply, found)
            self.batch_size.work_in_parts(work, batch, self.model.device, lambda asked: asked.place)
            yield from found

    def _kind(self, asked: Pending) -> Hashable:
        return asked.decoding, kind_of(asked.inputs, self.model.config)

    def _size(self, asked: Pending) -> int:
        if not asked.decoding.is_greedy:
            return 1
        return self.batch_size.of(self.model, asked.inputs, asked.decoding.max_new_tokens)

    def _reply(self, found: list[tuple[Pending, Reply]], batch: Sequence[Pending]) -> None:
        """Answer a batch, and append the answers to `found`."""
        started = time.perf_counter()
        prompts, decoding = [asked.inputs for asked in batch], batch[0].decoding
        answers = answer(self.model, self.processor, prompts, self.way, decoding)
        seconds = (time.perf_counter() - started) / len(batch)
        for asked, given in zip(batch, answers, strict=True):
            reply = Reply(given.text, given.prompt_tokens, len(given.token_ids), seconds, given.cost)
            found.append((asked, reply))


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
    """The prompt without the image marker that some tasks write around it: the chat template puts its own there.

    marker: the token that stands for a picture in this model's prompts; tasks also write LLaVA's. Raises ValueError for
    a marker amid the text, whose picture would be shown at another place than the task means, and without a picture.
    """
    for known in dict.fromkeys((marker, IMAGE_MARKER)):
        if known not in context:
            continue
        question = strip_image_marker(context, known)
        if known in question or context.count(known) > 1 or not has_picture:
            raise ValueError(
                f"{place} has {known} where fitprune_llava cannot put its picture; one may open the prompt"
            )
        context = question
    return context
