"""What the method does, what every figure of the app means, and where its limits are."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class GuideData(GradioModel):
    """model: the one that is loaded; is_demo: it is the embedded demonstration model."""

    model: str = ""
    is_demo: bool = False


class Guide(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = GuideData
