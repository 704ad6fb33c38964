"""The endpoint /compare: one picture, one question, one budget in; the object of `compare --json` out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import gradio as gr

from app.engine import Engine
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
        line = self.engine.line
        try:
            image, question = check_request(image, question, reduction)
            place = line.join(str(request.session_hash), address_of(request))
            work = partial(self._work, image, question, reduction)
            async with contextlib.aclosing(visit(line, place, work)) as items:
                async for item in items:
                    if isinstance(item, Comparison):
                        return item.to_json()
        except (ValueError, MemoryError) as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        ended = _TOOK_ITS_PLACE if place.is_replaced else "The comparison ended without a result."
        raise gr.Error(ended, print_exception=False)

    def _work(
        self, image: Upload, question: str, reduction: float, should_stop: Callable[[], bool]
    ) -> Generator[Any, None, None]:
        picture = image.open()
        if not should_stop():
            yield from self.engine.compare(picture, question, reduction, should_stop)


def create_api(engine: Engine) -> None:
    """The endpoint inside the current Blocks, on inputs of its own: a slider would cut a budget of 95 down to 90."""
    image, question = Picture(visible=False), gr.Textbox(visible=False)
    reduction, result = Percent(visible=False), gr.JSON(visible=False)
    gr.Button(visible=False).click(
        Api(engine).compare, [image, question, reduction], result, api_name="compare", concurrency_limit=None
    )
