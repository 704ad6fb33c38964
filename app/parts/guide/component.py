"""What the method does, what every figure of the app means, and where its limits are."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel
from pydantic import Field

from app.asking.sides import about
from app.parts.component import BrowserComponent
from fitprune_core import METHODS


class About(GradioModel):
    """A method: its name, and what it does in a sentence."""

    name: str
    about: str


def _all_methods() -> list[About]:
    return [About(name=name, about=about(name)) for name in METHODS]


class GuideData(GradioModel):
    """model: the one that is loaded; is_demo: it is the embedded demonstration model; methods: all that there are."""

    model: str = ""
    is_demo: bool = False
    methods: list[About] = Field(default_factory=_all_methods)


class Guide(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = GuideData
