"""The endpoints: /compare, one picture, one question, one budget; /sweep, many budgets and methods."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import gradio as gr

from app.allowance import Asker
from app.engine import Engine, check_ways
from app.inputs import Names, Percent, Percents, Picture, check_request
from app.uploads import Upload
from app.visits import asker_of, visit
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
        with _refusals():
            return await self.compared(image, question, reduction, asker_of(request))

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
        with _refusals():
            return await self.swept(image, question, reductions, methods, asker_of(request))

    async def compared(self, image: Upload | None, question: Any, reduction: Any, asker: Asker) -> dict[str, Any]:
        """As `compare`, for whoever asks. Raises ValueError, in words, for whatever ends it before."""
        picture, question = check_request(image, question, reduction, self.engine.limits)
        work = partial(self.engine.compare, percent=reduction)
        return (await self._ask(picture, question, work, 1, asker))[0]

    async def swept(
        self, image: Upload | None, question: Any, reductions: Any, methods: Any, asker: Asker
    ) -> list[dict[str, Any]]:
        """As `sweep`, for whoever asks. Raises ValueError, in words, for whatever ends it before."""
        percents, methods = check_ways(reductions, methods)
        picture, question = check_request(image, question, percents[0], self.engine.limits)
        work = partial(self.engine.sweep, percents=percents, methods=methods)
        return await self._ask(picture, question, work, len(percents) * len(methods), asker)

    async def _ask(
        self,
        picture: Upload,
        question: str,
        work: Callable[..., Iterator[Any]],
        expected: int,
        asker: Asker,
    ) -> list[dict[str, Any]]:
        """Wait in line, and return all `expected` comparisons of `work(image, question, should_stop=...)`."""
        line = self.engine.line
        place = line.join(asker.visitor, asker.address)
        visited = visit(line, place, partial(_begin, picture, question, work), picture.held())
        async with contextlib.aclosing(visited) as items:
            found = [item.to_json() async for item in items if isinstance(item, Comparison)]
        if len(found) == expected:
            return found
        raise ValueError(_TOOK_ITS_PLACE if place.is_replaced else "It ended without a result.")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What a caller can mend reaches him as a sentence."""
    try:
        yield
    except (ValueError, MemoryError) as error:
        raise gr.Error(sentence(error), print_exception=False) from error


def _begin(
    picture: Upload, question: str, work: Callable[..., Iterator[Any]], should_stop: Callable[[], bool]
) -> Generator[Any, None, None]:
    image = picture.open()
    if not should_stop():
        yield from work(image, question, should_stop=should_stop)


def create_api(engine: Engine) -> None:
    """The endpoints inside the current Blocks, on inputs of their own: a slider would cut a budget of 95 down to 90."""
    api = Api(engine)
    image, question, result = Picture(engine.limits, visible=False), gr.Textbox(visible=False), gr.JSON(visible=False)
    reduction, reductions, methods = Percent(visible=False), Percents(visible=False), Names(visible=False)
    at_any_time: dict[str, Any] = {"concurrency_limit": None}  # the line before the model sees to the order
    gr.Button(visible=False).click(api.compare, [image, question, reduction], result, api_name="compare", **at_any_time)
    gr.Button(visible=False).click(
        api.sweep, [image, question, reductions, methods], result, api_name="sweep", **at_any_time
    )
