"""What is said of accuracy and of sureness is what the model's own evaluation says, or nothing."""

from __future__ import annotations

import csv

import pytest

from fitprune_core.evaluation.known import NOTHING, read_known

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


def known(folder, weights="abc"):
    return read_known("mini-llava", lambda: weights, folder)


def test_the_nearest_evaluated_budget_is_told(tmp_path):
    write(tmp_path, SIDES)
    found = known(tmp_path)
    assert [each.percent for each in found.budgets] == [40, 80]
    at_80 = "FitPrune evaluated at 80 %: 50.0 % of 8 answers right; 100.0 % without pruning."
    at_40 = "FitPrune evaluated at 40 %: 87.5 % of 8 answers right; 100.0 % without pruning."
    assert {percent: found.note_at(percent) for percent in (0, 10, 59, 61, 90)} == {
        0: "", 10: at_40, 59: at_40, 61: at_80, 90: at_80,
    }  # fmt: skip


def test_nothing_is_said_without_an_evaluation_of_these_weights(tmp_path, caplog):
    assert known(tmp_path) is NOTHING
    path = write(tmp_path, SIDES, weights="others")
    assert known(tmp_path) is NOTHING and "of other weights, or another dtype, than mini-llava" in caplog.text
    path.write_text("no table")
    assert known(tmp_path) is NOTHING and "left aside" in caplog.text
    assert NOTHING.note_at(60) == ""


def test_the_weights_are_not_looked_at_without_a_file(tmp_path):
    assert read_known("mini-llava", lambda: pytest.fail("read all weights"), tmp_path) is NOTHING


def test_sureness_is_known_where_the_evaluation_says_it(tmp_path):
    path = write(tmp_path, SIDES)
    assert known(tmp_path).sureness == ()
    lines = path.read_text(encoding="utf-8").splitlines()
    margins = [",margin", *(f",{0.1 * (number % 8):.3f}" for number in range(len(lines) - 1))]
    path.write_text("\n".join(map(str.__add__, lines, margins)) + "\n", encoding="utf-8")
    found = known(tmp_path).sureness
    assert [(each.method, each.reduction) for each in found] == [("fitprune", 0.4), ("fitprune", 0.8), ("random", 0.8)]
    # The original is right throughout, so what is wrong is what changed: the last answers, which here are the surest.
    assert found[1].margins == pytest.approx([0.1 * number for number in range(8)])
    assert found[1].changed == (False,) * 4 + (True,) * 4
