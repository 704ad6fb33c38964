"""Tables of raw rows from marks, to reckon with by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.evidence.bench import COLUMNS, write_rows
from app.evidence.board import Board


def board_of(
    folder: Path,
    marks: Mapping[tuple[str, float], str],
    kinds: Sequence[str] = (),
    gflops: float = 2.0,
    margins: Sequence[float] = (),
) -> Board:
    """A board whose ways got question i right where their mark i is 1; a wrong answer says who gave it.

    marks: by (name, budget), the original at 0; a "-" is no answer. kinds: of the questions, by turns.
    margins: of every way's answers to them.
    """
    rows = []
    for (name, budget), of_way in marks.items():
        for number, mark in enumerate(of_way):
            if mark == "-":
                continue
            rows.append({
                "id": f"q{number}", "reduction": budget, "method": name, "answer": "a key" if mark == "1" else name,
                "expected": "a key", "correct": mark, "agrees": "", "new_tokens": 1, "visual_tokens": 36,
                "achieved_reduction": budget, "visual_gflops": gflops * (1 - budget), "total_gflops": 3.0,
                "model": "m", "weights": "w", "kind": kinds[number % len(kinds)] if kinds else "", "question": "?",
                "image": "", "margin": margins[number] if margins else "",
            })  # fmt: skip
    path = folder / "raw.csv"
    write_rows(path, COLUMNS, rows)
    return Board(path)
