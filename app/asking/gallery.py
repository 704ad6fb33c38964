"""The gallery: a folder of comparisons that were exported, mostly elsewhere, on a machine with a GPU.

That is how results of large models are shown where none runs: the files of `compare --export FILE.json|.html` lie in a
folder, `--gallery` names it, and a Hugging Face Space has them in assets/gallery.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from app.parts.scrubber import Trace
from app.settings import GALLERY
from fitprune_core.checks.words import named
from fitprune_core.report.drawing import picture_of
from fitprune_core.report.reading import ENDINGS, read_export
from fitprune_core.report.trace import data_uri

MOST_EXHIBITS = 60  # more thumbnails than this are no choice any more
_THUMBNAIL = 128

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exhibit:
    """One comparison of the gallery. thumbnail: of its picture, as a data URI."""

    path: Path
    question: str
    model: str
    thumbnail: str


def load_gallery(folder: Path = GALLERY) -> tuple[Exhibit, ...]:
    """The comparisons of a folder, by the names of their files.

    What is no sound comparison is left out, with a sentence in the log. Raises ValueError for a folder that is not
    there, but for the usual one, which need not be.
    """
    if not folder.is_dir():
        if folder == GALLERY:
            return ()
        raise ValueError(f"the gallery {named(folder)} is no folder")
    files = sorted(path for path in folder.iterdir() if path.suffix.casefold() in ENDINGS)
    found = []
    for path in files:
        try:
            found.append(_read(path))
        except ValueError as error:
            logger.warning("left out of the gallery: %s", str(error).splitlines()[0])
    if len(found) > MOST_EXHIBITS:
        logger.warning("the gallery shows %d of its %d comparisons", MOST_EXHIBITS, len(found))
    return tuple(found[:MOST_EXHIBITS])


def _read(path: Path) -> Exhibit:
    """Raises ValueError for whatever could not be shown later."""
    comparison, trace = read_export(path)
    try:
        Trace(**trace)
        picture = picture_of(trace)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return Exhibit(path, comparison.question, comparison.model, data_uri(picture, _THUMBNAIL))
