"""One line under the buttons: what is going on, or what went wrong."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.browser import BrowserComponent


class Message(GradioModel):
    """kind: "info" or "error"."""

    text: str
    kind: str = "info"

from gradio.events import Dependency

class Notice(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Message
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component