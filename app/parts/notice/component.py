"""One line under the buttons: what is going on, or what went wrong."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Message(GradioModel):
    """kind: "info", "warning" or "error"."""

    text: str
    kind: str = "info"


class Notice(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Message
