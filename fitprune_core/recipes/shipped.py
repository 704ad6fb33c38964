"""Where the files lie that come with the library: inside it when it was installed, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

_LIBRARY = Path(__file__).resolve().parents[1]


def shipped(*parts: str) -> Path:
    """A file or folder of the project by its path in a checkout, for example `shipped("assets", "mini-llava")`."""
    installed = _LIBRARY / "shipped"
    return (installed if installed.is_dir() else _LIBRARY.parent).joinpath(*parts)
