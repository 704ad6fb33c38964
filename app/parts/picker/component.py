"""Small pictures to choose from. A click fires `pick` with the number of the choice."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Choice(GradioModel):
    """One choice: a thumbnail as a data URI, and what it is for. note: what stands under it, where anything does.

    differs: pruning is known to change the answer.
    """

    thumbnail: str
    title: str
    note: str = ""
    differs: bool = False


class Choices(GradioModel):
    """heading: what stands over them, where anything does."""

    choices: list[Choice]
    heading: str = ""


class Picker(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Choices
