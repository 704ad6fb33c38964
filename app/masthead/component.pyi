"""The head of the page: the name, which model answers, and on what."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.browser import BrowserComponent


class Identity(GradioModel):
    """Which model runs where. is_demo: it is the embedded demonstration model."""

    model: str
    device: str
    is_demo: bool

from gradio.events import Dependency

class Masthead(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Identity
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component