"""Inputs that hand over what came in, so that the app itself can say what is wrong with it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from app.budgets import check_percent
from app.door.uploads import Upload, receive
from app.settings import Limits
from fitprune_core import check_question


class Picture(gr.Image):
    """A gr.Image that yields the picture as it was uploaded, unopened.

    Gradio would decode it first: a damaged file would end in a message that says nothing, and rotation, transparency
    and 16-bit greys would be lost before `open_picture` could handle them.
    """

    is_template = True  # drawn by Gradio's own image component

    def __init__(self, limits: Limits, value: Any = None, **options: Any) -> None:
        self.limits = limits
        # PNG, because what the server draws must reach the model as it was drawn.
        super().__init__(value, type="filepath", format="png", sources=["upload", "clipboard"], buttons=[], **options)

    def get_config(self) -> dict[str, Any]:  # type: ignore[override]
        """All settings of gr.Image; Gradio would read only the names in this class's own signature."""
        return super().get_config(gr.Image)

    def preprocess(self, payload: ImageData | None) -> Upload | None:  # type: ignore[override]
        """What came in, or None where there is no picture. Raises `Refused` for what is not an upload."""
        if payload is None or (payload.path is None and payload.url is None):
            return None
        return receive(payload.path, payload.url, self.limits)


class Percent(gr.Number):
    """A gr.Number that yields whatever was sent; for the API, where texts and NaN arrive too."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class Listed(gr.JSON):
    """A gr.JSON that says what it is a list of, a type of JSON, and yields whatever was sent; for the API."""

    is_template = True

    def __init__(self, of: str, value: Any = None) -> None:
        self.of = of
        super().__init__(value, visible=False)

    def get_config(self) -> dict[str, Any]:  # type: ignore[override]
        """All settings of gr.JSON; Gradio would read only the names in this class's own signature."""
        return super().get_config(gr.JSON)

    def api_info(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": self.of}}


def check_request(picture: Upload | None, question: str, percent: Any, limits: Limits) -> tuple[Upload, str]:
    """The picture, unopened, and the question, trimmed. Raises ValueError for whichever of the three cannot be."""
    check_percent(percent)
    question = check_question(question or "", limits.max_question)
    if picture is None:
        raise ValueError("There is no picture: pick an example, or upload or paste one.")
    return picture, question
