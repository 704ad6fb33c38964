"""The gallery of example pictures. A click fires `pick` with the example's number."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Choice(GradioModel):
    """One example: a thumbnail as a data URI, and what it is for."""

    thumbnail: str
    title: str


class Choices(GradioModel):
    choices: list[Choice]


class Picker(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Choices
