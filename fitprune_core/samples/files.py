"""Pictures and questions from a file: JSON Lines, one object a line.

    {"id": "17", "image": "pictures/17.png", "question": "What is it?", "answer": "a key"}

`image` is relative to the file, `answer` may be left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitprune_core.checks.words import shown
from fitprune_core.samples.disk_map import DiskMap


@dataclass(frozen=True)
class Sample:
    """One picture and one question.

    Attributes:
        id: its name, unique in its file.
        image: the picture's path, ready to open.
        question: what is asked.
        answer: the right answer, or None where it is not known.
        place: file and line that it comes from, for messages.
    """

    id: str
    image: Path
    question: str
    answer: str | None
    place: str


def read_samples(path: str | os.PathLike) -> Iterator[Sample]:
    """Read a samples file line by line; empty lines are passed over. Pictures are not opened.

    Raises ValueError naming the file, the line and the value: for a line that is not an object, a field that is
    missing or is no text, an id that came before; and for a file that cannot be read or holds no sample.
    """
    path = Path(path)
    lines_of_ids = DiskMap()
    for number, sample in _samples(path):
        before = lines_of_ids.get(sample.id)
        if before is not None:
            raise ValueError(f"{sample.place}: the id {shown(sample.id)} is that of line {before}")
        lines_of_ids[sample.id] = number
        yield sample
    if not len(lines_of_ids):
        raise ValueError(f"{path} holds no sample")


def check_samples(path: str | os.PathLike) -> int:
    """Read a samples file to its end and return how many samples it holds; raises as `read_samples` does."""
    return sum(1 for _ in read_samples(path))


def check_pictures(path: str | os.PathLike) -> None:
    """Raise ValueError if not one of a samples file's pictures is there: then it is not in its place, or of elsewhere.

    Single pictures may be missing; whoever needs one finds out. Nothing is opened.
    """
    first = None
    for sample in read_samples(path):
        if sample.image.is_file():
            return
        first = first or sample
    raise ValueError(f"{first.place}: there is no file {first.image}; no other picture of {path} is there either")


def _samples(path: Path) -> Iterator[tuple[int, Sample]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _sample(line, f"{path}, line {number}", path.parent)
    except OSError as error:
        raise ValueError(f"cannot read samples {path}: {error.strerror or error}") from error


def _sample(line: bytes, place: str, folder: Path) -> Sample:
    try:
        entries = json.loads(line.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{place}: not a JSON object: {_short(line.decode('utf-8', 'replace').strip())}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{place}: not a JSON object: {_short(entries)}")
    for name in ("id", "image", "question"):
        if name not in entries:
            raise ValueError(f"{place}: there is no {name}")
        if not isinstance(entries[name], str) or not entries[name].strip():
            raise ValueError(f"{place}: {name} must be a text, not {_short(entries[name])}")
    if not entries["id"].isprintable():
        raise ValueError(f"{place}: id must be on one line and printable, not {_short(entries['id'])}")
    answer = entries.get("answer")
    if answer is not None and not isinstance(answer, str):
        raise ValueError(f"{place}: answer must be a text, not {_short(answer)}")
    return Sample(entries["id"], folder / entries["image"], entries["question"], answer, place)


def _short(value: Any) -> str:
    """A value as it would be typed, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
