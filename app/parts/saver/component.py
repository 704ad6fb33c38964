"""Hands a text to the visitor as a file. It shows nothing."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Saved(GradioModel):
    """One file. kind: its media type; number: another for every save, so that the same file can be saved twice."""

    name: str
    kind: str
    text: str
    number: int


class Saver(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Saved
