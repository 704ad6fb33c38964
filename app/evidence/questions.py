"""Where questions come from: the drawn world by its seeds, easy-VQA's test split, or a samples file, cut in three."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from app.demo_model.crowded import WORLDS
from app.demo_model.easy_vqa import EasyQuestion, is_installed, spread_questions
from app.demo_model.samples import write_samples
from app.evidence.fingerprints import code_digest, digest_of, files_digest
from app.evidence.plan import CALIBRATION_SEED, CHOICE_SEED, FURTHER_CALIBRATION_SEEDS, TEST_SEED, Plan
from fitprune_core.samples.files import SamplesFile, check_samples, read_samples

# The sets that every section may ask for; further ones come from the drawn world alone.
CALIBRATION, CHOICE, TEST, FEW, EASY_VQA = "calibration", "choice", "test", "few", "easy-vqa"
# So many pictures of a given file are to calibrate on, and to choose by, for one that questions are asked of.
_SHARES = {CALIBRATION: 0.2, CHOICE: 0.2, TEST: 0.6}


@dataclass(frozen=True)
class Questions:
    """A set of questions: what the report calls it, its samples file, and where they come from, in words."""

    name: str
    file: SamplesFile
    origin: str

    @cached_property
    def digest(self) -> str:
        """Of the file and of every picture in it."""
        return digest_of(
            files_digest([self.file.path]), files_digest(sample.image for sample in read_samples(self.file))
        )

    @cached_property
    def count(self) -> int:
        """How many there are."""
        return check_samples(self.file)


def drawn(
    name: str,
    count: int,
    seed: int,
    folder: Path,
    worlds: Sequence[str] = tuple(WORLDS),
    *,
    to_answer: bool = False,
) -> Questions:
    """Scenes of the demonstration world, drawn into a folder of their own unless they are there.

    to_answer: whether short answers stand before long ones: a batch is answered when its longest answer is. The first
    samples of a set are then no fair part of it.
    """
    world = Path(__file__).parents[1] / "demo_model"
    code = code_digest(*(world / f"{module}.py" for module in _WORLD))
    where = folder / f"{'-'.join(worlds)}-{seed}-{count}{'-by-length' if to_answer else ''}-{code}"

    def write(into: Path) -> Path:
        samples = write_samples(into, count, seed, worlds)
        return _by_length(samples) if to_answer else samples

    file = _written(where, write)
    return Questions(
        name, SamplesFile(file), f"{count} drawn {' and '.join(worlds)} scenes, one question each, seed {seed}"
    )


def _by_length(samples: Path) -> Path:
    lines = samples.read_text(encoding="utf-8").splitlines(keepends=True)
    samples.write_text("".join(sorted(lines, key=lambda line: len(json.loads(line)["answer"]))), encoding="utf-8")
    return samples


_WORLD = ("crowded", "drawing", "lettering", "offtopic", "questions", "samples", "scenes", "shapes")


def easy_vqa(count: int | None, folder: Path) -> Questions | None:
    """Up to `count` questions of easy-VQA's test split, evenly spread over it; None where the package is not there.

    count: None for all of them.
    """
    if not is_installed():
        return None
    questions, total = spread_questions(sys.maxsize if count is None else count)
    if len(questions) == total:
        origin = f"all {total:,} questions of easy-VQA's test split"
    else:
        origin = f"{len(questions)} of the {total:,} questions of easy-VQA's test split, evenly spread"
    return Questions(EASY_VQA, _easy_file(questions, folder / f"easy-vqa-{len(questions)}"), origin)


def easy_vqa_to_calibrate(count: int, asked: Questions, folder: Path) -> Questions:
    """Up to `count` further questions of easy-VQA's test split, about none of the pictures that are asked about."""
    pictures = {sample.image for sample in read_samples(asked.file)}
    questions, _ = spread_questions(count, pictures)
    name = f"calibration, {EASY_VQA}"
    origin = f"{len(questions)} questions about other pictures of easy-VQA's test split"
    return Questions(name, _easy_file(questions, folder / f"easy-vqa-{len(questions)}-beside-{asked.count}"), origin)


def _easy_file(questions: Sequence[EasyQuestion], folder: Path) -> SamplesFile:
    pictures = Path(os.path.commonpath([asked.picture.parent for asked in questions]))

    def write(into: Path) -> Path:
        into.mkdir(parents=True, exist_ok=True)
        samples = into / "samples.jsonl"
        lines = [asked.line(os.path.relpath(asked.picture, pictures)) for asked in questions]
        samples.write_text("".join(lines), encoding="utf-8")
        return samples

    return SamplesFile(_written(folder, write), pictures)


def parts_of(given: SamplesFile, plan: Plan, folder: Path) -> dict[str, Questions]:
    """A samples file cut in three, by picture: what is calibrated on and chosen by is never tested on.

    Which part a picture falls into is decided by a digest of its name, so that another order, or more samples, move
    none. Raises ValueError for a file without right answers, or that leaves a part empty.
    """
    wanted = {CALIBRATION: plan.calibration, CHOICE: plan.choice, TEST: plan.test}
    parts: dict[str, list[Mapping[str, Any]]] = {name: [] for name in wanted}
    for sample in read_samples(given):
        image = os.path.relpath(sample.image, given.folder)
        name = _part(image)
        if sample.answer is None and name != CALIBRATION:
            continue
        entry = {"id": sample.id, "image": image, "question": sample.question,
                 "answer": sample.answer, "kind": sample.kind}  # fmt: skip
        if len(parts[name]) < wanted[name]:
            parts[name].append({key: value for key, value in entry.items() if value})
    if empty := [name for name, entries in parts.items() if not entries]:
        raise ValueError(
            f"{given} leaves nothing for {' and '.join(empty)}: the evidence needs questions with right answers about "
            "dozens of pictures"
        )
    parts[FEW] = parts[TEST][: plan.few]
    where = folder / f"given-{digest_of(json.dumps(parts))}"
    found = {}
    for name, entries in parts.items():
        file = SamplesFile(_written(where / name, partial(_write_part, entries)), given.folder)
        origin = f"{len(entries)} samples of {given.path.name}, chosen by a digest of their picture's name"
        found[name] = Questions(name, file, origin)
    return found


def world_sets(plan: Plan, folder: Path) -> dict[str, Questions]:
    """The same sets from the drawn world, each from a seed of its own; the few are the first of the test."""
    counts = {CALIBRATION: (plan.calibration, CALIBRATION_SEED), CHOICE: (plan.choice, CHOICE_SEED),
              TEST: (plan.test, TEST_SEED), FEW: (plan.few, TEST_SEED)}  # fmt: skip
    return {
        name: drawn(name, count, seed, folder, to_answer=name != CALIBRATION) for name, (count, seed) in counts.items()
    }


def further_calibrations(plan: Plan, folder: Path, seeds: Sequence[int] = FURTHER_CALIBRATION_SEEDS) -> list[Questions]:
    """Further sets to calibrate on, one of each seed, of the largest size asked for."""
    count = max(plan.calibration_sizes)
    return [drawn(f"calibration, seed {seed}", count, seed, folder) for seed in seeds]


def _part(picture: str) -> str:
    at = int.from_bytes(hashlib.sha256(f"evidence {picture}".encode()).digest()[:8]) / 2**64
    for name, share in _SHARES.items():
        if at < share:
            return name
        at -= share
    return TEST


def _write_part(entries: Iterable[Mapping[str, Any]], into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    return _write_lines(into / "samples.jsonl", entries)


def _write_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def _written(folder: Path, write: Callable[[Path], Path]) -> Path:
    """What `write` writes into a folder, which is there as a whole or not at all."""
    if not folder.is_dir():
        partial_folder = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial_folder, ignore_errors=True)
        write(partial_folder)
        partial_folder.rename(folder)
    return folder / "samples.jsonl"
