"""Presentation: the comparison that the page shows, alone and large, for a room. It lives in the browser alone."""

from __future__ import annotations

from pathlib import Path

from app.parts.component import BrowserComponent
from fitprune_core.report.export import VIEW


class Presenter(BrowserComponent):
    """A button, and what it opens. It has no value: it shows what the answers and the scrubber were given."""

    folder = Path(__file__).resolve().parent
    styles = (str(VIEW / "scrubber" / "swatches.css"),)
    scripts = (str(VIEW / "scrubber" / "geometry.js"), str(VIEW / "scrubber" / "paint.js"))
