"""The menu "Save". A choice fires `save` with the ending of a file and the layer that is shown; the value that comes
back is handed to the visitor as a file.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class Saved(GradioModel):
    """One file, in base64. number: another for every save, so that the same file can be saved twice.

    An empty name hands nothing over: it only ends the waiting.
    """

    name: str = ""
    kind: str = ""
    data: str = ""
    number: int

    @classmethod
    def of(cls, name: str = "", kind: str = "", data: bytes = b"") -> Saved:
        """kind: the media type."""
        return cls(name=name, kind=kind, data=base64.b64encode(data).decode(), number=time.monotonic_ns())


class Saver(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Saved
