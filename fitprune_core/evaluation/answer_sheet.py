"""The table of an evaluation: a CSV file with one answer a line, that survives being cut off, and its sums."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from itertools import groupby
from pathlib import Path

from fitprune_core.samples.disk_map import DiskMap
from fitprune_core.samples.files import SamplesFile, read_samples
from fitprune_core.samples.processes import part_paths

# The method of an answer that comes from the model as it is.
ORIGINAL = "original"


@dataclass(frozen=True)
class Answer:
    """One answer, and one line of the file; the fields are its columns.

    Attributes:
        id: of the sample. Together with `reduction` and `method` it is unique in a file.
        reduction: share of visual compute to save, as it was asked for; 0 for the original model.
        method: label of what chose the tokens ("fitprune", "random(seed=1)"), or "original".
        answer, expected: what the model said, and the right answer, empty where it is not known; on one line.
        correct: "1" or "0", empty where the right answer is not known.
        agrees: "1" if the answer is that of the original model, else "0".
        new_tokens, visual_tokens: tokens of the answer, and visual tokens of the picture.
        achieved_reduction: share of visual compute that was saved for this picture.
        visual_gflops, total_gflops: counted, 1e9 FLOPs, 2 per multiply-add: the decoder's work on visual tokens alone,
            and the whole request.
        model, max_new_tokens, image_aspect: what answered, how long it might, and how pictures became square.
    """

    id: str
    reduction: float
    method: str
    answer: str
    expected: str
    correct: str
    agrees: str
    new_tokens: int
    visual_tokens: int
    achieved_reduction: float
    visual_gflops: float
    total_gflops: float
    model: str
    max_new_tokens: int
    image_aspect: str

    @property
    def key(self) -> tuple[str, float, str]:
        """What no other line of a file has."""
        return self.id, self.reduction, self.method


@dataclass(frozen=True)
class Score:
    """All answers of one budget and method.

    `accuracy` is the share of right ones among the `asked` whose right answer is known, None where there are none;
    `agreement` the share that are the original's; the rest are means over `samples` answers.
    """

    reduction: float
    method: str
    samples: int
    asked: int
    accuracy: float | None
    agreement: float
    achieved_reduction: float
    visual_gflops: float
    total_gflops: float


@dataclass(frozen=True)
class Conditions:
    """What is the same for all answers of a file; the fields are those of `Answer`."""

    model: str
    max_new_tokens: int
    image_aspect: str


COLUMNS = tuple(field.name for field in fields(Answer))
_TYPES = {"int": int, "float": float, "str": str}


class AnswerSheet:
    """A CSV file that answers are appended to.

    Opening one that exists takes its answers as given and cuts off a last line that was not written to its end. Raises
    ValueError naming file and line for one that is no such table, or whose answers were given under other conditions.
    """

    def __init__(self, path: str | os.PathLike, conditions: Conditions) -> None:
        self.path = self._written = Path(path)
        # What was answered, by key, and what the original said, by sample: on disk, however many there are.
        self._known, self._originals = DiskMap(), DiskMap()
        begin_sheet(self.path)
        for number, answer in enumerate(read_answers(self.path), start=2):
            for name, ours in asdict(conditions).items():
                theirs = getattr(answer, name)
                if theirs != ours:
                    raise ValueError(f"{self.path}, line {number}: {name} is {theirs}, not {ours}; name another file")
            self._remember(answer)

    def __contains__(self, key: tuple[str, float, str]) -> bool:
        """Whether there is an answer for (id, reduction, method)."""
        return _text(key) in self._known

    def __len__(self) -> int:
        """How many answers there are."""
        return len(self._known)

    def original(self, sample_id: str) -> str | None:
        """The original model's answer to a sample, if it is there."""
        return self._originals.get(sample_id)

    def continue_in(self, part: Path) -> None:
        """Write what is appended from now on to another file, which is begun anew."""
        part.write_text(_line(COLUMNS), encoding="utf-8")
        self._written = part

    def append(self, answers: Sequence[Answer]) -> None:
        """Write answers to the end of the file, and to the disk."""
        if not answers:
            return
        with self._written.open("a", encoding="utf-8", newline="") as file:
            file.write("".join(_line(astuple(answer)) for answer in answers))
            file.flush()
            os.fsync(file.fileno())
        for answer in answers:
            self._remember(answer)

    def _remember(self, answer: Answer) -> None:
        self._known[_text(answer.key)] = 1
        if answer.method == ORIGINAL:
            self._originals[answer.id] = answer.answer


def begin_sheet(path: Path) -> None:
    """Write the first line of a sheet that is not there, and cut off a last one that was not written to its end.

    Raises ValueError for a file that is no such table.
    """
    _cut_torn_line(path)
    if not path.exists() or path.stat().st_size == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_line(COLUMNS), encoding="utf-8")


def read_answers(path: str | os.PathLike) -> Iterator[Answer]:
    """The answers of a file, in turn. Raises ValueError naming file, line and value for what is no answer."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if tuple(header) != COLUMNS:
            raise ValueError(f"{path} is no table of answers: its first line is not {','.join(COLUMNS)}")
        for number, row in enumerate(rows, start=2):
            if len(row) != len(COLUMNS):
                raise ValueError(f"{path}, line {number}: {len(row)} columns; there are {len(COLUMNS)}")
            try:
                yield Answer(*(_TYPES[field.type](text) for field, text in zip(fields(Answer), row, strict=True)))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error


def merge_parts(path: Path, conditions: Conditions, samples: str | os.PathLike | SamplesFile) -> None:
    """Append what several processes wrote beside a sheet, sample by sample in the order of `samples`, and remove it.

    Each part is in that order itself, so none is in memory. Killed on the way, it does the rest at the next call: what
    the sheet holds already is not appended again. Raises ValueError as `AnswerSheet` does, for parts as well.
    """
    parts = part_paths(path)
    if not parts:
        return
    sheet = AnswerSheet(path, conditions)
    for part in parts:
        AnswerSheet(part, conditions)
    merged = path.with_name(path.name + ".partial")
    shutil.copyfile(path, merged)
    with merged.open("a", encoding="utf-8", newline="") as file:
        ids = (sample.id for sample in read_samples(samples))
        for answer in _in_order([read_answers(part) for part in parts], ids):
            if answer.key not in sheet:
                file.write(_line(astuple(answer)))
        file.flush()
        os.fsync(file.fileno())
    merged.replace(path)
    for part in parts:
        part.unlink()


def _in_order(parts: Sequence[Iterable[Answer]], ids: Iterable[str]) -> Iterator[Answer]:
    """The answers of all parts by the order of `ids`, which each part follows; then what is left, part by part."""
    grouped = [groupby(part, key=lambda answer: answer.id) for part in parts]
    heads = [next(groups, None) for groups in grouped]
    for sample_id in ids:
        for number, groups in enumerate(grouped):
            if heads[number] is not None and heads[number][0] == sample_id:
                yield from heads[number][1]
                heads[number] = next(groups, None)
    for head, groups in zip(heads, grouped, strict=True):
        if head is not None:
            yield from head[1]
            for _, answers in groups:
                yield from answers


def scores(path: str | os.PathLike) -> list[Score]:
    """Sum up a file: a score for each method and budget, the original first, then in the order of the file."""
    means = ("achieved_reduction", "visual_gflops", "total_gflops")
    sums: dict[tuple[float, str], dict[str, float]] = {}
    for answer in read_answers(path):
        new = dict.fromkeys(("samples", "asked", "right", "agreeing", *means), 0)
        total = sums.setdefault((answer.reduction, answer.method), new)
        total["samples"] += 1
        total["asked"] += answer.correct != ""
        total["right"] += answer.correct == "1"
        total["agreeing"] += answer.agrees == "1"
        for name in means:
            total[name] += getattr(answer, name)
    return [
        Score(
            reduction=reduction,
            method=method,
            samples=total["samples"],
            asked=total["asked"],
            accuracy=total["right"] / total["asked"] if total["asked"] else None,
            agreement=total["agreeing"] / total["samples"],
            **{name: total[name] / total["samples"] for name in means},
        )
        for (reduction, method), total in sorted(sums.items(), key=lambda item: item[0][1] != ORIGINAL)
    ]


def _text(key: tuple[str, float, str]) -> str:
    sample_id, reduction, method = key
    return f"{float(reduction)!r} {method} {sample_id}"


def _line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _cut_torn_line(path: Path) -> None:
    """Drop what follows the last line end of a table: the rest of a line that was being written when its writer died.

    A file that does not begin as a table of answers does is somebody else's, and is refused untouched.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        header, begins = _line(COLUMNS).encode(), file.readline()
        if not header.startswith(begins.replace(b"\r\n", b"\n")):
            raise ValueError(f"{path} is no table of answers: its first line is not {','.join(COLUMNS)}")
        file.seek(0)
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))
