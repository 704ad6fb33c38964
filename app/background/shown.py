"""Whose answers the table of Inspect shows, a run's or a file's, and the pictures that its rows are about."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from PIL import Image

from app.asking.evaluated import find_evaluated
from app.background.runs import Runs
from app.demo_model.samples import find_drawn
from app.demo_model.scenes import Scene
from fitprune_core import open_picture
from fitprune_core.evaluation.outcomes import AskedQuestion, Outcomes, read_results

Shown = str | Path | None  # the token of a run, a file of rows that can be drawn, or neither
_LOOKED_AT = 50  # rows of a file, to know whether they can be drawn
# Large pictures take seconds and hundreds of megabytes each, whoever looks at them.
_opening = threading.BoundedSemaphore(2)


def read_file(path: Path) -> Outcomes:
    """The answers in a table, read once for each time that it was changed. Raises as `read_results`, and OSError."""
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Outcomes:
    return read_results(path)


def is_drawn(outcomes: Outcomes) -> bool:
    """Whether answers are about scenes that can be drawn again: some of their rows, from all over the file, all are.

    One alone could be by chance: some questions have the same answer about any scene.
    """
    return all(map(_scene_of, outcomes.questions[:: max(1, len(outcomes.questions) // _LOOKED_AT)]))


def outcomes_of(shown: Shown, runs: Runs) -> Outcomes | None:
    """The answers of a file, or of a run that is over; None where there are none, or not any more."""
    if isinstance(shown, Path):
        return read_file(shown) if shown.is_file() else None
    run = runs.find(shown)
    if run is None or run.is_busy or not run.results.is_file():
        return None
    return read_file(run.results)


def picture_of(asked: AskedQuestion, shown: Shown, runs: Runs) -> Image.Image | None:
    """The picture that a row is about: a file's is drawn, a run's is in its folder; None where there is none."""
    if isinstance(shown, Path):
        scene = _scene_of(asked)
        return None if scene is None else scene.draw()
    run = runs.find(shown)
    if run is None:
        return None
    path = (run.pictures / asked.picture).resolve()
    if not (path.is_relative_to(run.folder.resolve()) and path.is_file()):
        return None
    with _opening:
        return open_picture(path, runs.engine.limits.max_pixels)


def _scene_of(asked: AskedQuestion) -> Scene | None:
    """The scene that a row is about, by all that the row says, if it is one of ours."""
    said = (asked.id, asked.picture, asked.text, asked.expected)
    return find_drawn(*said) or find_evaluated(*said)
