"""The head of the page: the name, which model answers, and on what."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Identity(GradioModel):
    """Which model runs where. is_demo: it is the embedded demonstration model."""

    model: str
    device: str
    is_demo: bool


class Masthead(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Identity
