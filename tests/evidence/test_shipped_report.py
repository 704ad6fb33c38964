"""The report that ships: README quotes it, and it is of the model that ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.demo_model.questions import READING
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
    reading = [at for at, asked in enumerate(outcomes.questions) if asked.kind in READING]
    told = " ".join(README.split())
    assert f"{len(outcomes.questions):,} questions (of them {len(reading)} to read something)" in told
    ways = {"FitPrune": "fitprune", "as many tokens at random": "random"}
    for name, *cells in rows_of("budgets"):
        kinds, way = name.split(": ")
        among = {"all kinds": range(len(outcomes.questions)), "reading": reading}[kinds]
        sides = sorted((side for side in outcomes.sides if side.method == ways[way]), key=lambda side: side.reduction)
        shares = [
            f"{100 * sum(side.answers[at].right for at in among) / len(among):.1f}"
            for side in (outcomes.sides[0], *sides)
        ]
        assert cells == ([""] if way != "FitPrune" else shares[:1]) + shares[1:], name
    assert len(rows_of("budgets")) == 4


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
