"""Answers side by side: what every question was answered by every method at every budget, from a run that is over.

Read from the table that `evaluate` writes (`read_results`) or from the logs of two lmms-eval runs (`lmms_logs`). No
model is needed, and no picture is opened.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from fitprune_core.checks.files import check_plain_file
from fitprune_core.checks.words import named, shown
from fitprune_core.evaluation.significance import McNemar, Share, paired, share_by_picture
from fitprune_core.run.results import ORIGINAL, normalised, title_of

_NEEDED = ("id", "reduction", "method", "answer", "expected", "correct")
_LONGEST_CELL = 131_072
MOST_LINES = 1_000_000


@dataclass(frozen=True)
class AskedQuestion:
    """One question. `text`, `kind`, `picture` and `expected` are empty where the file does not say."""

    id: str
    text: str = ""
    kind: str = ""
    picture: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Given:
    """One answer.

    right: None where the right answer is not known; visual_gflops, margin (`run.answer.Answer`), total_gflops: None
    where the file does not say.
    """

    text: str
    right: bool | None
    visual_gflops: float | None = None
    margin: float | None = None
    total_gflops: float | None = None


@dataclass(frozen=True)
class Side:
    """One way to answer all questions: `answers[i]` is that to question i, None where there is none.

    method: as results name it, "original" for the model as it is; reduction: share of visual FLOPs to save, None where
    the file does not say; recipe: `PruningRecipe.counts`, empty where the file does not say.
    """

    method: str
    reduction: float | None
    answers: tuple[Given | None, ...]
    recipe: str = ""

    @property
    def name(self) -> str:
        """ "original", or "fitprune 60 %"."""
        return self.method if self.reduction is None else title_of(self.method, self.reduction)


@dataclass(frozen=True)
class Outcomes:
    """All answers of a run; the first side is the original model.

    model: its name, empty where it is not known; weights: the digests of the weights that answered, "" for a line that
    does not say.
    """

    model: str
    questions: tuple[AskedQuestion, ...]
    sides: tuple[Side, ...]
    weights: frozenset[str] = frozenset()

    @property
    def pictures(self) -> list[str | int]:
        """What each question is about: answers about one picture depend on each other. A picture that the file does not
        name is taken for one of its own."""
        return [asked.picture or number for number, asked in enumerate(self.questions)]


@dataclass(frozen=True)
class Summary:
    """One side over the questions that both it and the original answered.

    right: of those whose right answer is known; same: of all, those that are the original's answer; against: the test
    against the original, None for the original itself and where no right answer is known; visual_gflops: mean, None
    where unknown.
    """

    name: str
    right: Share | None
    same: Share | None
    against: McNemar | None
    visual_gflops: float | None


def summaries(outcomes: Outcomes, among: Sequence[int] | None = None) -> list[Summary]:
    """The sums of every side, over the questions `among` (their indices), or all."""
    chosen = range(len(outcomes.questions)) if among is None else among
    original, pictures = outcomes.sides[0], outcomes.pictures
    return [_summary(side, original, chosen, pictures) for side in outcomes.sides]


def read_results(path: str | os.PathLike) -> Outcomes:
    """Read the table of answers that `evaluate` wrote, of this version or an older one (without questions and kinds).

    Columns that are not known are passed over. Raises ValueError, one sentence that names file and line, for what is
    no such table, is cut off, holds an answer twice, or answers of two models; and where the original did not answer.
    """
    path = Path(path)
    check_plain_file(path, "results")
    models: dict[str, str] = {}
    weights: set[str] = set()
    questions: dict[str, AskedQuestion] = {}
    sides: dict[tuple[float | None, str], dict[str, Given]] = {}
    recipes: dict[tuple[float | None, str], str] = {}
    for where, row in _rows(path):
        model = row.get("model") or ""
        models.setdefault(model, where)
        if len(models) > 1:
            first, second = models
            raise ValueError(f"{where}: its model is {shown(second)}, that of the lines before {shown(first)}")
        weights.add(row.get("weights") or "")
        key, given = _given(row, where)
        answers = sides.setdefault(key, {})
        if row["id"] in answers:
            raise ValueError(f"{where}: {shown(row['id'])} has an answer of {key[1]} at {row['reduction']} already")
        answers[row["id"]] = given
        recipes.setdefault(key, row.get("recipe") or "")
        questions.setdefault(row["id"], _asked(row))
    if not sides:
        raise ValueError(f"{named(path)} holds no answer")
    found = outcomes_of(next(iter(models)), questions, sides, named(path))
    told = tuple(replace(side, recipe=recipes[side.reduction, side.method]) for side in found.sides)
    return replace(found, sides=told, weights=frozenset(weights))


def outcomes_of(
    model: str,
    questions: Mapping[str, AskedQuestion],
    sides: Mapping[tuple[float | None, str], Mapping[str, Given]],
    source: str,
) -> Outcomes:
    """Answers by (reduction, method) and id, put side by side, the original first.

    Raises ValueError where it is missing; source: what a message calls the file.
    """
    ordered = sorted(sides, key=lambda key: key[1] != ORIGINAL)
    if ordered[0][1] != ORIGINAL:
        raise ValueError(f"{source} holds no answer of the original model, which the others are compared with")
    found = [Side(key[1], key[0], tuple(sides[key].get(each) for each in questions)) for key in ordered]
    return Outcomes(model, tuple(questions.values()), tuple(found))


def against(
    side: Side, other: Side, pictures: Sequence[Hashable], among: Sequence[int] | None = None
) -> McNemar | None:
    """One side against another, over the questions `among` (their indices), or all: `won` are right in `side` alone.

    pictures: of all questions, `Outcomes.pictures`. Only questions that both answered and whose right answer is known
    count; None where there are none.
    """
    judged = _judged(side, other, range(len(side.answers)) if among is None else among)
    if not judged:
        return None
    mine, theirs = ([bool(each.right) for each in answers] for answers in zip(*judged.values(), strict=True))
    return paired(theirs, mine, [pictures[index] for index in judged])


def _pairs(side: Side, other: Side, chosen: Sequence[int]) -> dict[int, tuple[Given, Given]]:
    """By the index of a question: both answers, where both are there."""
    return {
        index: (mine, theirs)
        for index in chosen
        if (mine := side.answers[index]) is not None and (theirs := other.answers[index]) is not None
    }


def _judged(side: Side, other: Side, chosen: Sequence[int]) -> dict[int, tuple[Given, Given]]:
    """Those whose right answer is known."""
    return {at: pair for at, pair in _pairs(side, other, chosen).items() if None not in (each.right for each in pair)}


def _summary(side: Side, original: Side, chosen: Sequence[int], pictures: Sequence[Hashable]) -> Summary:
    pairs, judged = _pairs(side, original, chosen), _judged(side, original, chosen)
    flops = [mine.visual_gflops for mine, _ in pairs.values() if mine.visual_gflops is not None]
    return Summary(
        name=side.name,
        right=share_by_picture([bool(mine.right) for mine, _ in judged.values()], [pictures[at] for at in judged]),
        same=share_by_picture([is_same(*pair) for pair in pairs.values()], [pictures[at] for at in pairs]),
        against=None if side is original else against(side, original, pictures, chosen),
        visual_gflops=fmean(flops) if flops else None,
    )


def is_same(one: Given, other: Given) -> bool:
    """Whether two answers are the same, as everywhere (`results.normalised`)."""
    return normalised(one.text) == normalised(other.text)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    where = f"{named(path)}, line 1"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_bounded_lines(file, path), strict=True)
            header = next(reader, [])
            missing = [name for name in _NEEDED if name not in header]
            if missing:
                raise ValueError(f"{where}: no table of answers, there is no column {', '.join(missing)}")
            for cells in reader:
                where = f"{named(path)}, line {reader.line_num}"
                if len(cells) != len(header):
                    raise ValueError(f"{where}: {len(cells)} of {len(header)} columns; the file is cut off or damaged")
                yield where, dict(zip(header, cells, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"after {where}: the file is cut off or damaged ({error})") from error
    except OSError as error:
        raise ValueError(f"{named(path)} cannot be read: {error.strerror or error}") from error


def _bounded_lines(file, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(8 * _LONGEST_CELL):
        number += 1
        if number > MOST_LINES or not line.endswith("\n") and len(line) >= 8 * _LONGEST_CELL:
            raise ValueError(f"{named(path)}, line {number}: more than any table of answers holds")
        yield line


def _asked(row: Mapping[str, str]) -> AskedQuestion:
    return AskedQuestion(
        row["id"], row.get("question") or "", row.get("kind") or "", row.get("image") or "", row["expected"]
    )


def _given(row: Mapping[str, str], where: str) -> tuple[tuple[float, str], Given]:
    def number(name: str) -> float:
        try:
            value = float(row[name])
        except ValueError as error:
            raise ValueError(f"{where}: {name} is {shown(row[name])}, no number") from error
        if not 0 <= value < float("inf"):
            raise ValueError(f"{where}: {name} is {shown(row[name])}, which cannot be")
        return value

    if row["correct"] not in ("", "0", "1"):
        raise ValueError(f"{where}: correct is {shown(row['correct'])}; it is 1, 0 or nothing")
    reduction = number("reduction")
    if reduction >= 1:
        raise ValueError(f"{where}: reduction is {shown(row['reduction'])}; it is a share, 0 <= reduction < 1")
    right = None if row["correct"] == "" else row["correct"] == "1"
    names = "visual_gflops", "margin", "total_gflops"
    known = (number(name) if row.get(name) else None for name in names)
    return (reduction, row["method"]), Given(row["answer"], right, *known)
