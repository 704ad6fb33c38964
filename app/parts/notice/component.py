"""One line under the buttons: what is going on, or what went wrong."""

from __future__ import annotations

import time
from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Message(GradioModel):
    """kind: "info", "warning" or "error". share: how much is done, 0 to 1, drawn as a bar; None draws none.

    number: not 0 for what a visitor's own act ended in, so that the page goes to where it is told: another each time,
    because the same words may be told twice.
    """

    text: str
    kind: str = "info"
    share: float | None = None
    number: int = 0

    @classmethod
    def wrong(cls, text: str) -> Message:
        """What went wrong with what a visitor has just done."""
        return cls(text=text, kind="error", number=time.monotonic_ns())


class Notice(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Message
