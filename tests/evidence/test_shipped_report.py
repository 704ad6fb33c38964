"""The report that ships: README quotes it, and it is of the model that ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.evidence.board import THE_ORIGINAL, Board
from fitprune_core import load_model
from fitprune_core.evaluation.outcomes import read_results
from fitprune_core.models.provenance import weights_digest

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "assets" / "evidence"
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def board() -> Board:
    return Board(EVIDENCE / "raw" / "1-methods.csv")


def rows_of(name: str) -> list[list[str]]:
    """The cells of the table that README marks with a comment of this name, without its head."""
    (found,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    lines = [line for line in found.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_readme_quotes_its_shares(board):
    rows = rows_of("evidence")
    assert {"fitprune", "fitprune+", "random"} <= {name for name, *_ in rows}
    for name, *cells in rows:
        shares = [board.right((name, reduction)) for reduction in (0.6, 0.8)]
        assert cells == [f"{100 * share.value:.1f}" for share in shares], name


def test_readme_says_how_many_were_asked_and_what_the_original_gets(board):
    told = " ".join(README.split())
    assert f"{board.count:,} held-out questions ({100 * board.right(THE_ORIGINAL).value:.1f} % without pruning)" in told


def test_readme_has_every_figure_of_the_evaluation_that_ships():
    outcomes = read_results(ROOT / "recipes" / "mini-llava" / "evaluation.csv")
    sides = sorted((side for side in outcomes.sides if side.method == "fitprune"), key=lambda side: side.reduction)
    shares = [
        100 * sum(each.right for each in side.answers) / len(side.answers) for side in (outcomes.sides[0], *sides)
    ]
    (row,) = (cells for cells in rows_of("budgets") if cells[0] == "all kinds: FitPrune")
    assert row[1:] == [f"{share:.1f}" for share in shares]
    assert f"{len(outcomes.questions)} questions" in " ".join(README.split())


def test_it_is_of_the_weights_that_ship():
    model, _ = load_model("mini-llava", device="cpu")
    table = EVIDENCE / "raw" / "1-methods.csv"
    assert read_results(table).weights <= {weights_digest(model), ""}
    relatives = sorted(path.parent for path in (EVIDENCE / "models").glob("*/config.json"))
    assert len(relatives) == 2
    for number, folder in enumerate(relatives, 2):
        table = EVIDENCE / "raw" / f"11-models-{number}.csv"
        assert read_results(table).weights == {weights_digest(load_model(str(folder), device="cpu")[0])}, folder.name
    assert "mini-llava" in (EVIDENCE / "report.md").read_text(encoding="utf-8")
