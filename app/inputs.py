"""Inputs that hand over what came in, so that the app itself can say what is wrong with it."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote_to_bytes

import gradio as gr
from gradio import processing_utils
from gradio.data_classes import ImageData

from fitprune_core.run.pictures import MAX_FILE_BYTES


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
            return processing_utils.save_bytes_to_cache(bytes_of_url(payload.url), "picture", self.GRADIO_CACHE)
        return payload.path


def bytes_of_url(url: str) -> bytes:
    """What a data URL holds, as it is; Gradio would decode the picture, of whatever size, and encode it anew.

    Raises gr.Error for one that is too large or no base64.
    """
    kind, _, text = url.partition(",")
    if len(text) > MAX_FILE_BYTES * 4 // 3:
        raise gr.Error(f"The picture has more than {MAX_FILE_BYTES:,} bytes.", print_exception=False)
    if not kind.endswith(";base64"):
        return unquote_to_bytes(text)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise gr.Error("The picture's data URL is no base64.", print_exception=False) from error


class Percent(gr.Number):
    """A gr.Number that yields whatever was sent; for the API, where texts and NaN arrive too."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload
