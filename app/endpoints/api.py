"""The endpoints: /compare, one picture and question in two ways; /sweep, many budgets and methods."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from app.asking.asked import Asked, painted
from app.asking.inputs import Listed, Percent, Picture, check_request
from app.asking.sides import FITPRUNE, Sides
from app.door.uploads import Upload
from app.engine import Engine, check_ways
from app.visitors.allowance import Asker
from app.visitors.visits import asker_of, visit
from app.words import failure
from fitprune_core import Comparison
from fitprune_core.run.results import ORIGINAL

_TOOK_ITS_PLACE = "A newer request of yours took its place: send one at a time."


class Api:
    """What the endpoint does."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def compare(
        self,
        request: gr.Request,
        image: Upload | None,
        question: str,
        reduction: float,
        method: str = FITPRUNE,
        against: str = ORIGINAL,
        against_reduction: float | None = None,
        stay: Sequence[int] = (),
        go: Sequence[int] = (),
    ) -> dict[str, Any]:
        """Answer a question about a picture in two ways: with the original and the pruned model, or any two.

        One request at a time: a second one of the same client takes the place of the first.

        Args:
            image: the picture.
            question: what to ask about it, up to 2,000 characters; fewer where the server has a lower --max-question.
            reduction: share of visual FLOPs to save, in percent, 0 to 90.
            method: what chooses the tokens of the second answer, such as "random:seed=1"; "original" prunes nothing.
            against: what answers first, named as `method`.
            against_reduction: what `against` saves, in percent; null for the same.
            stay: visual tokens, by number from 0, that stay at every layer of the second answer, at the same cost.
            go: visual tokens that go first there. Where only `against` prunes, both are for the first answer.

        Returns:
            What `python -m fitprune_core compare --json` prints.
        """
        with _refusals():
            ways = (method, against, against_reduction, stay, go)
            return await self.compared(asker_of(request), image, question, reduction, *ways)

    async def sweep(
        self,
        request: gr.Request,
        image: Upload | None,
        question: str,
        reductions: list[float],
        methods: Sequence[str] = (FITPRUNE,),
    ) -> list[dict[str, Any]]:
        """Answer a question about a picture with the original and by every method at every budget.

        Args:
            image: the picture.
            question: what to ask about it, up to 2,000 characters; fewer where the server has a lower --max-question.
            reductions: shares of visual FLOPs to save, in percent, each 0 to 90.
            methods: names of methods, such as "fitprune" and "random:seed=1"; 60 ways in all at most.

        Returns:
            For each method and budget what `python -m fitprune_core compare --json` prints; times are not measured.
        """
        with _refusals():
            return await self.swept(asker_of(request), image, question, reductions, methods)

    async def compared(
        self,
        asker: Asker,
        image: Upload | None,
        question: Any,
        reduction: Any,
        method: Any = FITPRUNE,
        against: Any = ORIGINAL,
        against_reduction: Any = None,
        stay: Any = (),
        go: Any = (),
    ) -> dict[str, Any]:
        """As `compare`, for whoever asks. Raises ValueError, in words, for whatever ends it before."""
        picture, question = check_request(image, question, reduction, self.engine.limits)
        sides = Sides(against, method, against_reduction)
        asked = Asked(picture, question, reduction, None, sides, painted(stay, go))
        work = partial(self.engine.compare, percent=reduction, **asked.ways())
        return (await self._ask(picture, question, work, 1, asker))[0]

    async def swept(
        self, asker: Asker, image: Upload | None, question: Any, reductions: Any, methods: Any = (FITPRUNE,)
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
    """Whatever ends a call reaches its caller as a sentence."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(failure(error, "a call"), print_exception=False) from error


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
    reduction, reductions, methods = Percent(visible=False), Listed("number"), Listed("string", [FITPRUNE])
    method, against = gr.Textbox(FITPRUNE, visible=False), gr.Textbox(ORIGINAL, visible=False)
    sides = [method, against, Percent(visible=False), Listed("integer", []), Listed("integer", [])]
    at_any_time: dict[str, Any] = {"concurrency_limit": None}  # the line before the model sees to the order
    gr.Button(visible=False).click(
        api.compare, [image, question, reduction, *sides], result, api_name="compare", **at_any_time
    )
    gr.Button(visible=False).click(
        api.sweep, [image, question, reductions, methods], result, api_name="sweep", **at_any_time
    )
