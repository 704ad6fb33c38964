"""The endpoints: /compare, one picture, one question, one budget; /sweep, many budgets and methods. JSON comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from app.engine import Engine, check_ways
from app.inputs import Percent, Picture, check_request
from app.uploads import Upload
from app.visits import address_of, visit
from app.words import sentence
from fitprune_core import Comparison

_TOOK_ITS_PLACE = "A newer request of yours took its place: send one at a time."


class Api:
    """What the endpoint does."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def compare(
        self, image: Upload | None, question: str, reduction: float, request: gr.Request
    ) -> dict[str, Any]:
        """Answer a question about a picture with the original and the pruned model.

        One request at a time: a second one of the same client takes the place of the first.

        Args:
            image: the picture.
            question: what to ask about it, up to 2,000 characters.
            reduction: share of visual FLOPs to save, in percent, 0 to 90.

        Returns:
            What `python -m fitprune_core compare --json` prints.
        """
        found = await self._ask(image, question, [reduction], partial(self._compare, reduction), 1, request)
        return found[0]

    async def sweep(
        self, image: Upload | None, question: str, reductions: list[float], methods: list[str], request: gr.Request
    ) -> list[dict[str, Any]]:
        """Answer a question about a picture with the original and by every method at every budget.

        Args:
            image: the picture.
            question: what to ask about it, up to 2,000 characters.
            reductions: shares of visual FLOPs to save, in percent, each 0 to 90.
            methods: names of methods, such as "fitprune" and "random:seed=1"; 60 ways in all at most.

        Returns:
            For each method and budget what `python -m fitprune_core compare --json` prints; times are not measured.
        """
        try:
            percents, labels = check_ways(reductions, methods)
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        work = partial(self._sweep, percents, labels)
        return await self._ask(image, question, percents, work, len(percents) * len(labels), request)

    async def _ask(
        self,
        image: Upload | None,
        question: str,
        percents: Sequence[float],
        work: Callable[[Image.Image, str, Callable[[], bool]], Iterator[Any]],
        expected: int,
        request: gr.Request,
    ) -> list[dict[str, Any]]:
        """Wait in line, and return the comparisons that the work yields, all that are `expected`.

        Raises gr.Error, in words, for whatever ends it before.
        """
        line = self.engine.line
        try:
            asked = [check_request(image, question, percent) for percent in percents]
            place = line.join(str(request.session_hash), address_of(request))
            async with contextlib.aclosing(visit(line, place, partial(_begin, *asked[0], work))) as items:
                found = [item.to_json() async for item in items if isinstance(item, Comparison)]
        except (ValueError, MemoryError) as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        if len(found) == expected:
            return found
        ended = _TOOK_ITS_PLACE if place.is_replaced else "It ended without a result."
        raise gr.Error(ended, print_exception=False)

    def _compare(
        self, percent: float, picture: Image.Image, question: str, should_stop: Callable[[], bool]
    ) -> Iterator:
        return self.engine.compare(picture, question, percent, should_stop)

    def _sweep(
        self, percents: Sequence[float], methods: Sequence[str], picture: Image.Image, question: str,
        should_stop: Callable[[], bool],
    ) -> Iterator:  # fmt: skip
        return self.engine.sweep(picture, question, percents, methods, should_stop)


def _begin(
    image: Upload, question: str, work: Callable[..., Iterator[Any]], should_stop: Callable[[], bool]
) -> Generator[Any, None, None]:
    picture = image.open()
    if not should_stop():
        yield from work(picture, question, should_stop)


def create_api(engine: Engine) -> None:
    """The endpoints inside the current Blocks, on inputs of their own: a slider would cut a budget of 95 down to 90."""
    api = Api(engine)
    image, question, result = Picture(visible=False), gr.Textbox(visible=False), gr.JSON(visible=False)
    reduction, reductions, methods = Percent(visible=False), gr.JSON(visible=False), gr.JSON(visible=False)
    at_any_time: dict[str, Any] = {"concurrency_limit": None}  # the line before the model sees to the order
    gr.Button(visible=False).click(api.compare, [image, question, reduction], result, api_name="compare", **at_any_time)
    gr.Button(visible=False).click(
        api.sweep, [image, question, reductions, methods], result, api_name="sweep", **at_any_time
    )
