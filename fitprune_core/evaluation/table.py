"""The table of an evaluation: a CSV file with one answer a line, exported from the journal, and its sums."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

from fitprune_core.checks.files import check_output, written_whole
from fitprune_core.evaluation.significance import Share, share_of_groups
from fitprune_core.run.results import ORIGINAL, normalised
from fitprune_core.samples.files import SamplesFile, read_samples
from fitprune_core.samples.journal import Journal, Record, journal_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One answer, and one line of the file; the fields are its columns.

    Attributes:
        id: of the sample. Together with `reduction` and `method` it is unique in a file.
        reduction: share of visual compute to save, as it was asked for; 0 for the original model.
        method: what ranked the tokens, with its options, or "original".
        answer, expected: what the model said, and the right answer, empty where it is not known; on one line.
        correct: "1" or "0", empty where the right answer is not known.
        agrees: "1" if the answer is that of the original model, else "0".
        new_tokens, visual_tokens: tokens of the answer, and visual tokens of the picture.
        achieved_reduction: share of visual compute that was saved for this picture.
        visual_gflops, total_gflops: counted, 1e9 FLOPs, 2 per multiply-add: the decoder's work on visual tokens alone,
            and the whole request.
        model, max_new_tokens, image_aspect: what answered, how long it might, and how pictures became square.
        dtype, weights: the numbers of the model, and a digest of its weights, with what else decides what it says:
            adapters, hooks and replaced forwards.
        recipe: the recipe that the budget stands for (`PruningRecipe.counts`): visual tokens that it drops at each
            layer, of how many; empty for the original model. A method that follows the recipe drops these; one with a
            schedule of its own saves as much, at other places.
        kind, question, image: of the sample, as its file has them now; empty where it is not there any more.
        margin: how much likelier the answer's least sure token was than the next likeliest, 0 to 1, rounded to a
            thousandth; empty in a line that an older version answered.
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
    max_new_tokens: str
    image_aspect: str
    dtype: str
    weights: str
    recipe: str
    kind: str
    question: str
    image: str
    margin: str


@dataclass(frozen=True)
class Score:
    """All answers of one budget and method.

    `accuracy` is the share of right ones among the `asked` whose right answer is known, None where there are none;
    `agreement` the share that are the original's; `right` and `same` are both with their intervals, by picture where
    several samples are of one; the rest are means over `samples` answers.
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
    right: Share | None = None
    same: Share | None = None


COLUMNS = tuple(field.name for field in fields(Row))
_MEANS = ("achieved_reduction", "visual_gflops", "total_gflops")


def check_table(out: str | os.PathLike, inputs: Iterable[str | os.PathLike | None] = ()) -> None:
    """Raise ValueError if a table cannot be written here, or would destroy a file: one without a journal, or another.

    inputs: files that are read for it.
    """
    out, begins = Path(out), ",".join(COLUMNS[:3])
    check_output(out, inputs=inputs, begins=begins.encode(), what=f"a table of answers, which begins with {begins}")
    if out.exists() and out.stat().st_size and not journal_path(out).exists():
        raise ValueError(
            f"{out} is there, but not {journal_path(out).name}, which says what gave its answers; name another "
            "file, or remove it to begin anew"
        )


def export(
    out: Path, journal: Journal, samples: str | os.PathLike | SamplesFile, conditions: Mapping[str, str]
) -> list[Score]:
    """Write all answers of a journal as a CSV file, by the order of the samples file, and sum them up.

    What is of a sample that is not in the file any more comes last, and is not in the sums. Right answers are those of
    the samples file now. A file is replaced whole; none is written where there is no answer.
    """
    sums: dict[tuple[float, str], _Sum] = {}
    samples, others = SamplesFile.of(samples), 0
    rows = _rows(journal, samples, conditions)
    first = next(rows, None)
    if first is None:
        return []
    with written_whole(out, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, is_asked in chain([first], rows):
            writer.writerow(astuple(row))
            if is_asked:
                sums.setdefault((row.reduction, row.method), _Sum()).add(row)
            else:
                others += 1
    if others:
        logger.warning(
            "%s keeps %d answers about samples that are not in %s; they are not in these sums", out, others, samples
        )
    ordered = sorted(sums.items(), key=lambda item: item[0][1] != ORIGINAL)
    return [total.score(*key) for key, total in ordered]


def _rows(journal: Journal, samples: SamplesFile, conditions: Mapping[str, str]) -> Iterator[tuple[Row, bool]]:
    """Every answer, and whether its sample is in the file."""
    for sample, record in journal.in_order(read_samples(samples)):
        about = {"kind": "", "question": "", "image": "", "expected": record.notes["expected"]}
        if sample is not None:
            about = {
                "kind": on_one_line(sample.kind),
                "question": on_one_line(sample.question),
                "image": os.path.relpath(sample.image, samples.folder),
                "expected": on_one_line(sample.answer or ""),
            }
        yield _row(record, about, conditions), sample is not None


def _row(record: Record, about: Mapping[str, str], conditions: Mapping[str, str]) -> Row:
    entries: dict[str, Any] = {"margin": "", **conditions, **record.notes, **about, "id": record.sample}
    expected = entries["expected"]
    entries["correct"] = mark(normalised(entries["answer"]) == normalised(expected)) if expected else ""
    return Row(**{name: entries[name] for name in COLUMNS})


class _Sum:
    """The answers of one budget and method, added up."""

    def __init__(self) -> None:
        # By picture: answers, those that are the original's, those whose right answer is known, and the right ones.
        self.pictures: dict[str, list[int]] = {}
        self.totals = dict.fromkeys(_MEANS, 0.0)

    def add(self, row: Row) -> None:
        """Count one answer."""
        counts = self.pictures.setdefault(row.image or f"of {row.id}", [0, 0, 0, 0])
        for at, told in enumerate((True, row.agrees == "1", row.correct != "", row.correct == "1")):
            counts[at] += told
        for name in _MEANS:
            self.totals[name] += getattr(row, name)

    def score(self, reduction: float, method: str) -> Score:
        """Shares and means."""
        answers, agreeing, known, right = zip(*self.pictures.values(), strict=True)
        samples, asked = sum(answers), sum(known)
        judged = [at for at, count in enumerate(known) if count]
        return Score(
            reduction,
            method,
            samples,
            asked,
            accuracy=sum(right) / asked if asked else None,
            agreement=sum(agreeing) / samples,
            **{name: self.totals[name] / samples for name in _MEANS},
            right=share_of_groups([right[at] for at in judged], [known[at] for at in judged]),
            same=share_of_groups(agreeing, answers),
        )


def mark(yes: bool) -> str:
    """A truth as a column has it."""
    return "1" if yes else "0"


def on_one_line(text: str) -> str:
    """A text with every run of white space as one space."""
    return " ".join(text.split())
