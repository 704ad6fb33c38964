"""The report that ships: README quotes it, and it is of the model that ships."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from statistics import fmean

import pytest

from app.demo_model.questions import READING
from app.evidence import ways
from app.evidence.bench import read_rows
from app.evidence.board import THE_ORIGINAL, Board
from app.evidence.sections import asked_again, costs, flips, methods
from fitprune_core import load_model
from fitprune_core.evaluation.outcomes import read_results
from fitprune_core.evaluation.significance import SIGNIFICANT, share_by_picture
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


@pytest.mark.slow
def test_readme_quotes_its_shares(board):
    rows = rows_of("evidence")
    assert {"fitprune", "fitprune+", "random"} <= {name for name, *_ in rows}
    for name, *cells in rows:
        shares = [board.right((name, reduction)) for reduction in (0.6, 0.8)]
        assert cells == [f"{100 * share.value:.1f}" for share in shares], name


def test_readme_says_how_many_were_asked_and_what_the_original_gets(board):
    told = " ".join(README.split())
    assert f"{board.count:,} held-out questions ({100 * board.right(THE_ORIGINAL).value:.1f} % without pruning)" in told


@pytest.mark.slow
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
    (side,) = (each for each in outcomes.sides if (each.method, each.reduction) == ("fitprune", 0.6))
    ends = []
    for among in (range(len(outcomes.questions)), reading):
        pictures = [outcomes.pictures[at] for at in among]
        share = share_by_picture([side.answers[at].right for at in among], pictures)
        ends.append(f"{100 * share.low:.1f} to {100 * share.high:.1f}")
    share_pictures = f"Questions share pictures, {len(set(outcomes.pictures))} in all; by picture the 95 % intervals"
    assert f"{share_pictures} of FitPrune at 60 % are {ends[0]} over all kinds and {ends[1]} in reading" in told


def test_what_fitprune_plus_loses_is_said_with_its_figures(board):
    guide = " ".join((ROOT / "assets" / "guide" / "fitprune-plus.md").read_text(encoding="utf-8").split())

    def right(name, kind, budget):
        way = THE_ORIGINAL if name == "original" else (name, budget)
        return f"{100 * board.right(way, kind).value:.1f}"

    names = ("fitprune+", "random", "fitprune", "original")
    counts, described = ([right(name, *what) for name in names] for what in (("count all", 0.8), ("describe", 0.6)))
    asked = [board.right(THE_ORIGINAL, kind).asked for kind in ("count all", "describe")]
    for told in (
        f"of {asked[0]} questions how many things there are `fitprune+` has {counts[0]} % right at 80 % "
        f"(`random` {counts[1]}, `fitprune` {counts[2]}; p < 0.001 each)",
        f"of {asked[1]} descriptions it has {described[0]} % right at 60 % (`random` {described[1]}, p < 0.001; "
        f"`fitprune` {described[2]}, the original {described[3]})",
    ):
        assert told in guide
    plus, chance = ([f"{float(share[at]):.0f} %" for share in (described, counts)] for at in (0, 1))
    some = " and ".join(f"{float(right(name, 'count some', 0.8)):.0f}" for name in names[:2])
    told = (
        f"has {plus[0]} of descriptions right at 60 % (`random` {chance[0]}), and {plus[1]} of the questions how many "
        f"things there are at 80 % (`random` {chance[1]}; how many of one kind: {some} %)"
    )
    assert told in " ".join(README.split())


@pytest.mark.slow
def test_readme_and_guide_say_what_easy_vqas_whole_split_shows():
    board = Board(EVIDENCE / "raw" / "10-combination-easy-vqa.csv")
    p_values = ways.tests_against(board, "fitprune+")
    guide = " ".join((ROOT / "assets" / "guide" / "fitprune-plus.md").read_text(encoding="utf-8").split())
    told, budgets = " ".join(README.split()), (0.6, 0.8, 0.9)
    shares = {
        name: [f"{100 * board.right((name, at)).value:.1f}" for at in budgets] for name in ("fitprune+", *ways.RIVALS)
    }
    original = f"{100 * board.right(THE_ORIGINAL).value:.1f} %"
    for text in (told, guide):
        assert f"all {board.count:,} questions of easy-VQA's test split" in text and original in text
    for name, (first, second, third) in shares.items():
        assert (
            f"`{name}` {first}, {second} and {third}" in guide or f"`{name}` has {first}, {second} and {third}" in guide
        )
    beyond = {way for way, p in p_values.items() if p <= SIGNIFICANT}
    ahead = {way for way in beyond if board.right(way).value < board.right(("fitprune+", way[1])).value}
    expected = {(name, at) for name in ("fitprune", "divprune") for at in budgets} | {("random", 0.8), ("random", 0.9)}
    assert ahead == expected
    assert beyond - ahead == {("cross-only", 0.9)} and p_values["cross-only", 0.9] < 0.001
    assert f"`cross-only` is ahead of it ({shares['cross-only'][2]} against {shares['fitprune+'][2]} %" in told
    largest = max(p_values["fitprune", at] for at in budgets)
    assert f"at 60, 80 and 90 % (p ≤ {largest:.3f})" in told and f"(p ≤ {largest:.3f} each)" in guide
    assert f"(p {p_values['random', 0.6]:.3f}, then < 0.001)" in guide
    assert max(p_values["random", 0.8], p_values["random", 0.9]) < 0.001


def test_readme_says_how_much_of_what_chance_loses_fitprune_keeps(board):
    orders = Board(EVIDENCE / "raw" / "1-methods-orders.csv")

    def points(at):
        chances = [orders.right(way).value for way in orders.ways if way[1] == at and way[0].startswith("random")]
        assert len(chances) == 3
        chance, kept, original = fmean(chances), board.right(("fitprune", at)).value, board.right(THE_ORIGINAL).value
        return f"{100 * (kept - chance):.1f}", f"{100 * (original - chance):.1f}"

    (kept, lost), (also, more) = map(points, (0.6, 0.8))
    told = (
        f"it keeps {kept} of the {lost} points that three random orders lose on average at 60 %, and {also} of {more}"
    )
    assert told in " ".join(README.split())


def test_readme_says_what_the_papers_rule_alone_gets(board):
    told, points = " ".join(README.split()), []
    shares = {name: [f"{100 * board.right((name, at)).value:.1f}" for at in (0.6, 0.8)]
              for name in ("fitprune", methods.PAPERS_RULE)}  # fmt: skip
    for at in (0.6, 0.8):
        pair = board.against((methods.PAPERS_RULE, at), ("fitprune", at))
        points.append(f"{-100 * pair.difference()[0]:.1f}")
        assert methods.corrected_tests(board)[(methods.PAPERS_RULE, at), "fitprune"] < 0.001
        assert board.against((methods.PAPERS_RULE, at), ("random", at)).difference()[1] > 0
    assert f"it has {' and '.join(points)} points less (p < 0.001) and is still ahead of chance" in told
    ours, papers = (" and ".join(found) for found in shares.values())
    assert f"{ours} % of {board.count:,} questions right, the paper's rule alone {papers} (p < 0.001 each" in told


def test_readme_says_how_well_an_answer_tells_that_it_was_changed(board):
    found = flips.predictions_of(board, [], flips.MARKED)
    told = {
        name: [f"{found[(name, reduction), flips.LEAST].value:.2f}" for reduction in (0.6, 0.8)]
        for name in ("fitprune", "fitprune+")
    }
    (first, second), (plus, also) = told["fitprune"], told["fitprune+"]
    said = f"`fitprune` {first} at 60 % and {second} at 80, `fitprune+` {plus} and {also})"
    assert said in " ".join(README.split())
    way = ("fitprune+", 0.8)
    changed = [board.margins(way)[question] >= flips.SURE for question, flip in board.flips(way).items() if flip]
    told = f"answers that `fitprune+` changes at 80 % {100 * fmean(changed):.0f} % are sure all the same"
    assert told in " ".join(README.split())


def test_the_guide_says_what_fitprune_plus_takes_of_the_time():
    rows = list(read_rows(EVIDENCE / "raw" / "7-costs.csv"))
    guide = " ".join((ROOT / "assets" / "guide" / "fitprune-plus.md").read_text(encoding="utf-8").split())
    for at in (0.6, 0.8):
        found = costs.time_between(rows, "fitprune+", "fitprune", at)
        points, most, least = (f"{-100 * each:.1f}" for each in (found.value, found.low, found.high))
        assert f"{points} " in guide and f"({least} to {most}" in guide


def cells_of_report() -> list[list[str]]:
    """All rows of the report's tables."""
    lines = (EVIDENCE / "report.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def p_of(cell: str) -> str:
    """The p-value of a test's cell."""
    return cell.rpartition(", p ")[2]


def test_readme_says_what_asking_again_is_worth():
    rows, told = cells_of_report(), " ".join(README.split())
    found = {}
    for name in ("fitprune", "fitprune+"):
        for target in (60, 80):
            (at,) = (at for at, row in enumerate(rows) if row[0] == f"{asked_again.again(name)}, {target} %")
            again, by_visual, in_all = rows[at : at + 3]
            assert by_visual[0].endswith(": as many visual FLOPs") and in_all[0].endswith(": as many in all")
            found[name, target] = again[4].split(" ")[0], in_all[4].split(" ")[0], p_of(in_all[5])
            # At 60 % the one conclusion holds for both ways to count, at 80 % for neither.
            is_better = [
                float(p_of(row[5]).removeprefix("< ")) <= 0.05 and row[5][0] == "+" for row in (by_visual, in_all)
            ]
            assert is_better == [target == 60] * 2, name
    (a, b, _), (c, d, _) = found["fitprune", 60], found["fitprune+", 60]
    assert f"(`fitprune` {a} against {b} %, `fitprune+` {c} against {d})" in told
    (a, b, p), (c, d, q) = found["fitprune", 80], found["fitprune+", 80]
    p, q = (each if each.startswith("<") else f" {each}".strip() for each in (p, q))
    assert f"({a} against {b}, p {p}; {c} against {d}, p {q}; section 13)" in told


def test_readme_says_what_schedules_and_recipes_of_other_worlds_are_worth():
    told, cells = " ".join(README.split()), cells_of_report()
    head = next(at for at, row in enumerate(cells) if row[0] == "ranking, schedule")
    rows = {row[0]: row for row in takewhile(lambda row: len(row) == 5, cells[head + 1 :])}
    stairs, shares = (p_of(rows[f"fitprune, {name}"][2]) for name in ("a staircase", "an equal share at every layer"))
    assert f"(250 questions, p {stairs} and {shares}), at 80 % of no other schedule beyond chance" in told
    at_80 = [row[4] for name, row in rows.items() if name.startswith("fitprune, ") and row[4] != "–"]
    assert len(at_80) >= 4 and all(float(p_of(cell)) > 0.05 for cell in at_80)
    answers = (EVIDENCE / "report.md").read_text(encoding="utf-8").partition("## What was asked")[0]
    words = r"change (\S+ points) of what their own get right, all worlds together \((\S+) to (\S+),"
    (pooled,) = re.findall(words, answers)
    assert f"({pooled[0]}, {pooled[1]} to {pooled[2]}; sections 2 and 5)" in told
    # No recipe of another world or seed is beyond chance.
    others = [row for row in cells if ": fitted on " in row[0] and ", p " in row[-1]]
    assert len(others) >= 14 and all(p_of(row[3]) == "1.000" for row in others)


def test_readme_and_guide_say_what_the_relatives_say():
    rivals = ("fitprune", "cross-only", "divprune", "random")
    rows = [row for row in cells_of_report() if re.fullmatch(r"mini-llava-\S+ \(\d+ layers\), \d0 %", row[0])]
    assert len(rows) == 6 and all(len(row) == 5 for row in rows)
    ahead: dict[tuple[str, str], list[float]] = {(rival, at): [] for rival in rivals for at in ("60 %", "80 %")}
    for name, *cells in rows:
        for rival, cell in zip(rivals, cells, strict=True):
            # A p-value of 0.0499 is printed as 0.050, and found.
            if (p := float(p_of(cell).removeprefix("< "))) <= 0.05:
                assert cell.startswith("+"), (name, rival)
                ahead[rival, name.rpartition(", ")[2]].append(p)
    counts = {key: len(found) for key, found in ahead.items()}
    assert counts == {
        ("random", "60 %"): 2, ("random", "80 %"): 3, ("fitprune", "60 %"): 2, ("fitprune", "80 %"): 3,
        ("cross-only", "60 %"): 2, ("cross-only", "80 %"): 1, ("divprune", "60 %"): 0, ("divprune", "80 %"): 1,
    }  # fmt: skip

    def largest(*names):
        return max(p for (rival, _), found in ahead.items() if rival in names for p in found)

    said = (
        f"ahead of `random` and of `fitprune` in 2 at 60 % and in 3 at 80 (p ≤ {largest('random', 'fitprune'):.3f}), "
        f"of `cross-only` in 2 and in 1, of `divprune` in none and in 1 (p ≤ {largest('cross-only', 'divprune'):.3f})"
    )
    guide = " ".join((ROOT / "assets" / "guide" / "fitprune-plus.md").read_text(encoding="utf-8").split())
    assert said in guide and said in " ".join(README.split())
    (small,) = (row[3] for row in rows if row[0] == "mini-llava-8 (8 layers), 80 %")
    assert (
        small.startswith("−1.2 ") and f"`divprune` is 1.2 points ahead at 80 % (p {p_of(small)}, section 11)" in guide
    )


@pytest.mark.slow
def test_it_is_of_the_weights_that_ship():
    model, _ = load_model("mini-llava", device="cpu")
    table = EVIDENCE / "raw" / "1-methods.csv"
    assert read_results(table).weights <= {weights_digest(model), ""}
    relatives = sorted(path.parent for path in (EVIDENCE / "models").glob("*/config.json"))
    assert len(relatives) == 3
    for number, folder in enumerate(relatives, 2):
        table = EVIDENCE / "raw" / f"11-models-{number}.csv"
        assert read_results(table).weights == {weights_digest(load_model(str(folder), device="cpu")[0])}, folder.name
    assert "mini-llava" in (EVIDENCE / "report.md").read_text(encoding="utf-8")
