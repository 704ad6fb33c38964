"""Inputs that hand over what came in, so that the app itself can say what is wrong with it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio import image_utils
from gradio.data_classes import ImageData


class Picture(gr.Image):
    """A gr.Image that yields the path of the file as it was uploaded.

    Gradio would decode it first: a damaged file would end in a message that says nothing, and rotation, transparency
    and 16-bit greys would be lost before `open_picture` could handle them.
    """

    is_template = True  # drawn by Gradio's own image component

    def __init__(self, value: Any = None, **options: Any) -> None:
        # PNG, because what the server draws must reach the model as it was drawn.
        super().__init__(value, type="filepath", format="png", sources=["upload", "clipboard"], buttons=[], **options)

    def get_config(self) -> dict[str, Any]:  # type: ignore[override]
        """All settings of gr.Image; Gradio would read only the names in this class's own signature."""
        return super().get_config(gr.Image)

    def preprocess(self, payload: ImageData | None) -> str | None:
        """The path of the file, or None where there is no picture."""
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            return image_utils.decode_base64_to_file(payload.url, self.GRADIO_CACHE, self.format)
        return payload.path


class Percent(gr.Number):
    """A gr.Number that yields whatever was sent; for the API, where texts and NaN arrive too."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload
