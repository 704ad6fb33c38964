"""Whether what somebody gives for a picture is one. Nothing heavy is imported: pictures are opened before torch."""

from __future__ import annotations

import os
from typing import Any

from PIL import Image

from fitprune_core.checks.words import named


def check_picture(image: Any, name: str = "the picture") -> None:
    """Raise ValueError for what is no PIL image. name: what to call it in the error."""
    if not isinstance(image, Image.Image):
        way_out = "; open_picture reads a file" if isinstance(image, str | os.PathLike) else ""
        raise ValueError(f"{named(name)} must be a PIL image, not {type(image).__name__}{way_out}")
