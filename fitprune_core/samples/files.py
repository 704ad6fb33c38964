"""Pictures and questions from a file, in one of three forms.

JSON Lines, one object a line:

    {"id": "17", "image": "pictures/17.png", "question": "What is it?", "answer": "a key"}

CSV whose first line names the same columns. And LLaVA's own data (github.com/haotian-liu/LLaVA, docs/Finetune_Custom_
Data.md), a JSON array of objects with `id`, `image` and `conversations`, of which the first human turn is the question
and the next turn the answer; entries without a picture are passed over, an id may come again, and an entry that cannot
be used is left out: nobody looks through 665,000 of them to mend one.

`image` is relative to the file, or to a folder that is given; `answer` may be left out, and so may `kind`, a word or
two that say what sort of question it is (another type is no kind). `id` and `answer` may be numbers.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fitprune_core.checks.files import check_plain_file, path_of
from fitprune_core.checks.words import cut, named, shown
from fitprune_core.run.pixels import MAX_PIXELS
from fitprune_core.run.questions import strip_image_marker
from fitprune_core.samples.disk_map import DiskMap
from fitprune_core.samples.formats import entries_of

# A cell of a CSV file holds up to 131,072 characters; results repeat the id and the right answer.
LONGEST_ID = 1_000
LONGEST_ANSWER = 100_000
LONGEST_PATH = 4_000
LONGEST_KIND = 80
# What every sample has.
COLUMNS = ("id", "image", "question")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One picture and one question.

    Attributes:
        id: its name, unique in its file.
        image: the picture's path, ready to open.
        question: what is asked.
        answer: the right answer, or None where it is not known.
        kind: what sort of question it is, in a word or two; empty where the file does not say.
        place: file and line that it comes from, for messages.
    """

    id: str
    image: Path
    question: str
    answer: str | None
    place: str
    kind: str = ""


@dataclass(frozen=True)
class SamplesFile:
    """A samples file, the folder that its pictures are relative to, if that is not the file's own, and how many pixels
    each may have.

    Wherever a samples file is taken its path alone will do; `of` makes one of either.
    """

    path: Path
    images: Path | None = None
    max_pixels: int = MAX_PIXELS

    @classmethod
    def of(cls, samples: str | os.PathLike | SamplesFile, images: str | os.PathLike | None = None) -> SamplesFile:
        """`samples` as a SamplesFile, with another folder of pictures where one is given."""
        if not isinstance(samples, str | os.PathLike):
            raise ValueError(f"samples is {shown(samples)}; name a samples file")
        known = samples if isinstance(samples, cls) else cls(Path(samples))
        return known if images is None else replace(known, images=path_of(images, "images"))

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return named(self.path)

    @property
    def folder(self) -> Path:
        """The folder that pictures are relative to."""
        return self.path.parent if self.images is None else self.images


def read_samples(
    samples: str | os.PathLike | SamplesFile, leave_out: Callable[[str], None] = lambda words: None
) -> Iterator[Sample]:
    """Read a samples file, one sample at a time, however many it holds. Pictures are not opened.

    leave_out: called for every entry in LLaVA's form that cannot be used, with its place and what is wrong with it.

    Raises ValueError naming the file, the place and the value: for what is no object, a field that is missing or is no
    text, an id that came before (but in LLaVA's form, where it becomes "ID (2)", and where what is no sample is left
    out); for a file that cannot be read again (a pipe or a device), and one that holds no sample.
    """
    samples = SamplesFile.of(samples)
    check_plain_file(samples.path, "samples")
    places = DiskMap()
    fresh, unusable = _FreshNames(places), ""
    try:
        for where, entry in entries_of(samples.path, COLUMNS):
            place = f"{samples}, {where}"
            if "conversations" in entry:
                if not entry.get("image"):
                    continue
                try:
                    sample = _of_conversations(entry, place, samples.folder)
                except ValueError as error:
                    unusable = unusable or str(error)
                    leave_out(str(error))
                    continue
                sample = replace(sample, id=fresh.of(sample.id))
            else:
                sample = _sample(entry, place, samples.folder)
            before = places.get(sample.id)
            if before is not None:
                raise ValueError(f"{place}: the id {shown(sample.id)} is that of {before}")
            places[sample.id] = where
            yield sample
    except OSError as error:
        raise ValueError(f"cannot read samples {samples}: {error.strerror or error}") from error
    if not len(places):
        raise ValueError(f"{samples} holds no sample" + (f" that can be used; {unusable}" if unusable else ""))


def check_samples(samples: str | os.PathLike | SamplesFile, *, warns: bool = True) -> int:
    """Read a samples file to its end and return how many samples it holds; raises as `read_samples` does.

    warns: whether one line in the log says how many entries are left out, and why the first is.
    """
    left_out: list[str] = []  # the first alone: there may be as many as the file has entries
    count = 0

    def leave_out(words: str) -> None:
        nonlocal count
        count += 1
        left_out[:] = left_out or [words]

    found = sum(1 for _ in read_samples(samples, leave_out))
    if count and warns:
        which = "1 entry that cannot be used" if count == 1 else f"{count:,} entries that cannot be used; the first"
        logger.warning("left out %s: %s", which, left_out[0])
    return found


def check_pictures(samples: str | os.PathLike | SamplesFile) -> None:
    """Raise ValueError if none of a samples file's pictures is there: it was moved, or names folders of elsewhere.

    Single pictures may be missing, and are reported when they are needed. Nothing is opened.
    """
    first: Sample | None = None
    for sample in read_samples(samples):
        if os.path.isfile(sample.image):
            return
        first = first or sample
    if first is not None:
        raise ValueError(
            f"{first.place}: there is no file {named(first.image)}; no other picture of {SamplesFile.of(samples)} is "
            "there either; --images names the folder that they are relative to"
        )


class _FreshNames:
    """Names that may come again, and then become "NAME (2)", "NAME (3)" ..."""

    def __init__(self, taken: DiskMap) -> None:
        self._taken, self._counts = taken, DiskMap()

    def of(self, name: str) -> str:
        """A name that is not taken yet."""
        if name not in self._taken:
            return name
        count = int(self._counts.get(name) or 1)
        while (fresh := f"{name} ({count + 1})") in self._taken:
            count += 1
        self._counts[name] = count + 1
        return fresh


def _check_characters(entry: dict[str, Any], place: str) -> None:
    """Raise ValueError for half a character, as JSON may hold it ("\\ud800"): no file of results could be written."""
    for name in (*COLUMNS, "answer", "kind"):
        value = entry.get(name)
        try:
            (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode("utf-8")
        except UnicodeEncodeError as error:
            found = error.object[error.start]
            raise ValueError(f"{place}: {name} holds {shown(found)}, which is half a character") from error


def _of_conversations(entry: dict[str, Any], place: str, folder: Path) -> Sample:
    """The sample of an entry in LLaVA's form: its first human turn and the turn after it."""
    turns = entry["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and "value" in turn for turn in turns):
        raise ValueError(f"{place}: conversations must be a list of turns with from and value, not {shown(turns)}")
    asked = next((at for at, turn in enumerate(turns) if turn.get("from") in ("human", "user")), None)
    if asked is None:
        raise ValueError(f"{place}: conversations must have a turn from human, not {shown(turns)}")
    answer = turns[asked + 1]["value"] if asked + 1 < len(turns) else None
    ours = {"id": entry.get("id"), "image": entry["image"], "question": turns[asked]["value"], "answer": answer}
    return _sample({name: value for name, value in ours.items() if value is not None}, place, folder)


def _as_text(value: Any) -> Any:
    """A number as people write it, anything else as it is: other programs write numbers as ids and answers."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _sample(entries: dict[str, Any], place: str, folder: Path) -> Sample:
    _check_characters(entries, place)
    entries = entries | {name: _as_text(entries[name]) for name in ("id", "answer") if name in entries}
    for name in COLUMNS:
        if entries.get(name) is None:
            there = ", ".join(map(shown, list(entries)[:8]))
            raise ValueError(f"{place}: there is no {name}; it has {there or 'nothing'}")
        if not isinstance(entries[name], str) or not entries[name].strip():
            raise ValueError(f"{place}: {name} must be a text, not {shown(entries[name])}")
    answer = entries.get("answer")
    if answer is not None and not isinstance(answer, str):
        raise ValueError(f"{place}: answer must be a text, not {shown(answer)}")
    if not entries["id"].isprintable():
        raise ValueError(f"{place}: id must be on one line and printable, not {shown(entries['id'])}")
    image = entries["image"]
    if image.startswith("data:") or "\0" in image or len(image) > LONGEST_PATH:
        raise ValueError(f"{place}: image must be a path, not {len(image):,} characters that begin {shown(image[:20])}")
    for name, value, longest in (("id", entries["id"], LONGEST_ID), ("answer", answer or "", LONGEST_ANSWER)):
        if len(value) > longest:
            raise ValueError(f"{place}: {name} has {len(value):,} characters; it may have up to {longest:,}")
    question = strip_image_marker(entries["question"])
    if not question:
        raise ValueError(f"{place}: question must be a text, not {shown(entries['question'])}")
    # Other people's files may mean something else by it.
    kind = cut(entries["kind"], LONGEST_KIND) if isinstance(entries.get("kind"), str) else ""
    return Sample(entries["id"], folder / image, question, answer, place, kind)
