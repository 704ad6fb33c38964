"""One line under the buttons: what is going on, or what went wrong."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Message(GradioModel):
    """kind: "info", "warning" or "error". share: how much is done, 0 to 1, drawn as a bar; None draws none."""

    text: str
    kind: str = "info"
    share: float | None = None


class Notice(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Message
