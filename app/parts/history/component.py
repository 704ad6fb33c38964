"""The comparisons that a visitor has seen, kept by their browser for as long as its tab is open, and by nobody else.

What arrives as a value is remembered. `reopen` is fired with what was sent when a comparison is to be shown again.
"""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent
from fitprune_core.report.export import VIEW


class Finished(GradioModel):
    """One comparison. text: of its exported file; link, picture, origin: as in `Board`."""

    text: str
    link: str = ""
    picture: str = ""
    origin: str = ""


class History(BrowserComponent):
    folder = Path(__file__).resolve().parent
    scripts = (
        str(VIEW / "scrubber" / "geometry.js"),
        str(VIEW / "scrubber" / "paint.js"),
        "store.js",
        "beside.js",
    )
    data_model = Finished
