"""12. The other authors' methods by other options of theirs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from matplotlib.figure import Figure

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import Board
from app.evidence.figures import panels
from app.evidence.questions import CALIBRATION, CHOICE, TEST
from app.evidence.section import Section, Table
from app.evidence.ways import PLUS, Tests, bars_of_right, rows_across, tests_across, way_rows
from app.evidence.words import budget, listed, outcomes, percent_of, sentence
from fitprune_core import DecoderGeometry

TITLE = "Rivals by other options"
QUESTION = (
    "FastV and PyramidDrop run with the layer and the stages that their papers chose for decoders of 32 layers: do "
    "others, chosen on questions of their own, serve this decoder better?"
)
BEST = "by the best option"
FITTED = ("fitprune", "cross-only", PLUS)


def run(bench: Bench) -> Section:
    """Try options on the questions to choose by; ask the test questions by the best of them."""
    statistics, plan = bench.statistics(bench.sets[CALIBRATION]), bench.plan
    recipes = bench.recipes(statistics, plan.budgets)
    tried = tried_options(bench.geometry)
    variants = [variant(each, recipe) for recipe in recipes for found in tried.values() for each in found]
    trial = bench.answers("12-options", bench.sets[CHOICE], variants)
    boards, chosen = {}, {}
    for method, options in tried.items():
        ways: list[Variant] = []
        for recipe in recipes:
            by_name = {(each := variant(option, recipe)).name: each for option in options}
            best = trial.best((name, recipe.reduction) for name in by_name)
            name = best[0][0] if best else method
            chosen[method, recipe.reduction] = name
            ways += [
                variant(method, recipe),
                replace(by_name[name], name=base_of(method)),
                *(variant(fitted, recipe) for fitted in FITTED),
            ]
        boards[method] = bench.answers(f"12-options-{method}", bench.sets[TEST], ways)
    p_values = tests_of(boards, chosen)
    section = Section(TITLE, QUESTION, raw=[trial.path, *(board.path for board in boards.values())])
    section.tables = [_tried(trial), _tested(boards, p_values, chosen)]
    section.figures["12-options"] = _figure(boards)
    section.answer = answer_of(boards, p_values, chosen)
    spread = 100 * max(board.spread() for board in boards.values())
    section.counted = f"the FLOPs, at a budget the same for all to within {spread:.2f} points"
    section.measured = f"answers to the {trial.count} questions to choose by, and to the test questions"
    section.notes = [f"{which} was left out: {why}." for which, why in trial.refused.items()]
    section.notes.append(
        "A rival has to save what fitprune's recipe really does, which may be some hundredths of a point more than the "
        "budget: what can save no more than the budget itself is left out."
    )
    section.notes.append(
        f"{listed(FITTED)} run as they are by default: no option of theirs was chosen on these questions."
    )
    return section


def tried_options(geometry: DecoderGeometry) -> dict[str, list[str]]:
    """The ways of each method that are tried, its own first: layers and stages up to half of the decoder."""
    half = max(geometry.num_layers // 2, 2)
    return {
        "fastv": ["fastv", *(f"fastv:layer={layer}" for layer in range(1, half + 1))],
        "pyramiddrop": ["pyramiddrop", *(f"pyramiddrop:stages={stages}" for stages in range(2, half + 1))],
    }


def base_of(method: str) -> str:
    """What the method as published, fitprune and fitprune+ are held against: the method by its best option."""
    return f"{method}, {BEST}"


def answer_of(boards: dict[str, Board], p_values: Tests, chosen: dict[tuple[str, float], str]) -> str:
    """The sentence: at each budget each method by its best option, against itself as published and the fitted ways."""
    found = []
    for (method, at), option in chosen.items():
        board, best = boards[method], (base_of(method), at)
        rivals = {f"{name} as published" if name == method else name: (name, at) for name in (method, *FITTED)}
        if option == method:
            rivals.pop(f"{method} as published")
        tests = {
            rival: (board.against(best, way), p_values.get((method, way)))
            for rival, way in rivals.items()
            if way in board.ways
        }
        found.append(
            f"with {budget(at)} saved {option} is right on {percent_of(board.right(best))}, {outcomes(tests, 'than')}"
        )
    return " ".join(map(sentence, found))


def tests_of(boards: dict[str, Board], chosen: dict[tuple[str, float], str]) -> Tests:
    """Each way against the method by its best option; where that is the published one it is not tested with itself."""
    return tests_across(boards, base_of, [(way[0], way) for way, option in chosen.items() if option == way[0]])


def _tried(trial: Board) -> Table:
    rows = [[name, right, same] for name, right, same, _ in way_rows(trial, "", lambda _: None)]
    about = f"{trial.count} questions to choose by, percent with 95 % intervals. What cannot meet a budget is left out."
    return Table(["tried", "right", "as the original"], rows, about)


def _tested(boards: dict[str, Board], p_values: Tests, chosen: dict[tuple[str, float], str]) -> Table:
    rows = rows_across(boards, base_of, p_values)
    which = "; ".join(f"{method} at {budget(at)}: {option}" for (method, at), option in chosen.items())
    about = (
        "All test questions, percent with 95 % intervals; tests against the method by its best option, corrected "
        f"together (Holm). Chosen: {which}."
    )
    return Table(["method: way", "right", "as the original", "against the best option"], rows, about)


def _figure(boards: dict[str, Board]) -> Figure:
    budgets = sorted({way[1] for board in boards.values() for way in board.ways[1:]})
    figure, found = panels([f"{name}, {budget(at)} saved" for name in boards for at in budgets], columns=len(budgets))
    for axes, (board, at) in zip(found, product(boards.values(), budgets), strict=True):
        bars_of_right(axes, board, {way: way[0] for way in board.ways if way[1] in (0.0, at)}, "% right")
    return figure
