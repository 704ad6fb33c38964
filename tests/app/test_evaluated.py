"""What the page says of accuracy is what the model's own evaluation says, or nothing."""

from __future__ import annotations

import csv

import pytest

from app.evaluated import note_at, read_evidence
from app.parts.budget import plans_of
from tests.app.fake_engine import FakeEngine

COLUMNS = ("id", "reduction", "method", "answer", "expected", "correct", "model", "weights")


def write(folder, sides, *, questions=8, weights="abc", model="mini-llava"):
    """An evaluation in which each (reduction, method) answers the given number of questions rightly."""
    path = folder / "mini-llava" / "evaluation.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for (reduction, method), right in sides.items():
            for number in range(questions):
                is_right = number < right
                said = "yes" if is_right else "no"
                writer.writerow([number, reduction, method, said, "yes", int(is_right), model, weights])
    return path


SIDES = {(0, "original"): 8, (0.4, "fitprune"): 7, (0.8, "fitprune"): 4, (0.8, "random"): 8}


def evidence(folder, weights="abc"):
    return read_evidence("mini-llava", lambda: weights, folder)


def test_the_nearest_evaluated_budget_is_told(tmp_path):
    write(tmp_path, SIDES)
    found = evidence(tmp_path)
    assert [each.percent for each in found] == [40, 80]
    at_80 = "FitPrune evaluated at 80 %: 50.0 % of 8 answers right; 100.0 % without pruning."
    at_40 = "FitPrune evaluated at 40 %: 87.5 % of 8 answers right; 100.0 % without pruning."
    assert {percent: note_at(found, percent) for percent in (0, 10, 59, 61, 90)} == {
        0: "", 10: at_40, 59: at_40, 61: at_80, 90: at_80,
    }  # fmt: skip


def test_nothing_is_said_without_an_evaluation_of_these_weights(tmp_path, caplog):
    assert evidence(tmp_path) == ()
    path = write(tmp_path, SIDES, weights="others")
    assert evidence(tmp_path) == () and "other weights" in caplog.text
    path.write_text("no table")
    assert evidence(tmp_path) == () and "left aside" in caplog.text
    assert note_at((), 60) == ""


def test_the_weights_are_not_looked_at_without_a_file(tmp_path):
    assert read_evidence("mini-llava", lambda: pytest.fail("read all weights"), tmp_path) == ()


def test_the_page_has_no_warning_of_its_own():
    plans = plans_of(FakeEngine().previews(), 60)
    assert set(plans.notes) == {""} and len(plans.notes) == 91
