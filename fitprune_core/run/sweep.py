"""One picture, one question, many budgets and methods: what each answers, beside the original's one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.models.exclusive import free_model
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.pruning.methods import Method
from fitprune_core.pruning.methods.registry import find_methods
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import UNPRUNED, Answer, Way, answer
from fitprune_core.run.request import Request
from fitprune_core.run.results import Comparison
from fitprune_core.run.timing import Stopped

_TIMING = "once, one after the other, without a warm-up: a hint, not a measurement."


def sweep(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    image: Image.Image,
    question: str,
    recipes: Sequence[PruningRecipe] | PruningRecipe,
    methods: Sequence[str | Method | type[Method]] | str | Method | type[Method] = ("fitprune",),
    *,
    max_new_tokens: int = 64,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Comparison]:
    """Answer a question with the original once, then by every method with every recipe; one `Comparison` each.

    recipes, methods: one or several. They come method by method, each with the recipes in their order. Decoding is
    greedy. should_stop is asked after every token; what comes after a yes is left out. Raises, at once, ValueError for
    a question, picture, recipe or method that cannot be, and where there is nothing to do; later what the model raises,
    and MemoryError.
    """
    found = find_methods(methods)
    recipes = list(recipes) if isinstance(recipes, Iterable) and not isinstance(recipes, str) else [recipes]
    if not found or not recipes:
        raise ValueError("a sweep needs at least one recipe and one method")
    ways = [(UNPRUNED, Way(recipe, method)) for method in found.values() for recipe in recipes]
    first = Request(free_model(model), processor, image, question, ways[0], max_new_tokens)
    requests = [first.in_ways(each) for each in ways]
    return _answers(first, requests, should_stop)


def _answers(first: Request, requests: Sequence[Request], should_stop: Callable[[], bool]) -> Iterator[Comparison]:
    try:
        original = _answer(first, UNPRUNED, should_stop)
        for request in requests:
            pair = [original, _answer(request, request.ways[1], should_stop)]
            yield request.result(pair, [each.times for each in pair], _TIMING)
    except Stopped:
        return


def _answer(request: Request, way: Way, should_stop: Callable[[], bool]) -> Answer:
    """One answer; between two of them the model is free for others."""
    work = partial(
        answer, request.model, request.processor, [request.inputs], way, request.decoding, should_stop=should_stop
    )
    return with_memory_explained(work, request.model.device, request.describe())[0]
