"""The sample logs of two lmms-eval runs of one task, original and pruned, side by side.

`--log_samples` writes them, `DATE_samples_TASK.jsonl`, one object a line (lmms_eval/loggers/evaluation_tracker.py of
0.7.3): `doc_id`, `doc_hash`, `target`, `input` (the question), `filtered_resps` (the answer), and the task's metrics.
Pictures are not in them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitprune_core.checks.files import check_plain_file
from fitprune_core.checks.words import named, shown
from fitprune_core.evaluation.outcomes import AskedQuestion, Given, Outcomes, outcomes_of
from fitprune_core.evaluation.table import on_one_line
from fitprune_core.run.questions import strip_image_marker
from fitprune_core.run.results import ORIGINAL
from fitprune_core.samples.formats import entries_of

PRUNED = "pruned"
# What else stands in a line; all other entries are metrics.
_ABOUT = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "doc_hash", "prompt_hash", "target_hash")
    + ("input", "input_media", "token_counts", "filter", "metrics", "submission")
)


def read_lmms_logs(original: str | os.PathLike, pruned: str | os.PathLike) -> Outcomes:
    """Read the logs of the same task with the original and the pruned model.

    An answer is right where the task's metric gives it the full mark, 1; the metric is the first that every line of
    both files has with a number from 0 to 1. Where there is none (a judge gave the marks, or the server that knows the
    answers), no answer is called right or wrong. Raises ValueError, naming file and line, for what is no such log, and
    for two files of different questions.
    """
    paths = {ORIGINAL: Path(original), PRUNED: Path(pruned)}
    lines = {side: _lines(path) for side, path in paths.items()}
    first, second = lines.values()
    shared = [number for number in first if number in second]
    if not shared:
        raise ValueError(f"{named(paths[PRUNED])} and {named(paths[ORIGINAL])} have no question in common")
    for number in shared:
        if first[number].get("doc_hash") != second[number].get("doc_hash"):
            raise ValueError(
                f"question {number} is another one in {named(paths[PRUNED])} than in {named(paths[ORIGINAL])}: "
                "they are of two tasks, or of two versions of one"
            )
    metric = _metric([lines[side][number] for side in lines for number in shared])
    questions = {number: _asked(number, first[number]) for number in shared}
    sides: dict[tuple[float | None, str], dict[str, Given]] = {
        (None, side): {number: _given(lines[side][number], metric) for number in shared} for side in lines
    }
    return outcomes_of("", questions, sides, named(paths[ORIGINAL]))


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    check_plain_file(path, "samples log")
    found: dict[str, dict[str, Any]] = {}
    for where, entry in entries_of(path):
        place = f"{named(path)}, {where}"
        if "doc_id" not in entry or "filtered_resps" not in entry:
            raise ValueError(f"{place}: no line of an lmms-eval samples log, there is no doc_id or filtered_resps")
        number = str(entry["doc_id"])
        if number in found:
            raise ValueError(f"{place}: doc_id {shown(number)} came before")
        found[number] = entry
    if not found:
        raise ValueError(f"{named(path)} holds no answer")
    return found


def _metric(entries: list[dict[str, Any]]) -> str | None:
    for name in entries[0]:
        if name not in _ABOUT and all(_mark(entry.get(name)) is not None for entry in entries):
            return name
    return None


def _mark(value: Any) -> float | None:
    """A metric's mark from 0 to 1; tasks write it as a number, or as an object that has a `score`."""
    if isinstance(value, Mapping):
        value = value.get("score")
    if isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def _given(entry: Mapping[str, Any], metric: str | None) -> Given:
    answer = entry["filtered_resps"]
    while isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Given(on_one_line(text), None if metric is None else _mark(entry[metric]) == 1)


def _asked(number: str, entry: Mapping[str, Any]) -> AskedQuestion:
    question = strip_image_marker(entry["input"]) if isinstance(entry.get("input"), str) else ""
    return AskedQuestion(number, on_one_line(question), expected=on_one_line(str(entry.get("target", ""))))
