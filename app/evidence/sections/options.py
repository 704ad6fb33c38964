"""12. The other authors' methods by other options of theirs."""

from __future__ import annotations

from dataclasses import replace

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import Board
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, CHOICE, TEST
from app.evidence.section import Section, Table
from app.evidence.ways import Tests, bars_across, rows_across, tests_across, way_rows
from app.evidence.words import budget, sentence, share_words, verdict
from fitprune_core import DecoderGeometry

TITLE = "Rivals by other options"
QUESTION = (
    "FastV and PyramidDrop run with the layer and the stages that their papers chose for decoders of 32 layers: do "
    "others, chosen on questions of their own, serve this decoder better?"
)
BEST = "by the best option"


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
                replace(by_name[name], name=f"{method}, {BEST}"),
                variant("fitprune", recipe),
            ]
        boards[method] = bench.answers(f"12-options-{method}", bench.sets[TEST], ways)
    p_values = tests_across(boards, base_of)
    section = Section(TITLE, QUESTION, raw=[trial.path, *(board.path for board in boards.values())])
    section.tables = [_tried(trial), _tested(boards, p_values, chosen)]
    section.figures["12-options"] = bars_across(boards)
    section.answer = answer_of(boards, p_values, chosen)
    spread = 100 * max(board.spread() for board in boards.values())
    section.counted = f"the FLOPs, at a budget the same for all to within {spread:.2f} points"
    section.measured = f"answers to the {trial.count} questions to choose by, and to the test questions"
    section.notes = [f"{which} was left out: {why}." for which, why in trial.refused.items()]
    return section


def tried_options(geometry: DecoderGeometry) -> dict[str, list[str]]:
    """The ways of each method that are tried, its own first: layers and stages up to half of the decoder."""
    half = max(geometry.num_layers // 2, 2)
    return {
        "fastv": ["fastv", *(f"fastv:layer={layer}" for layer in range(1, half + 1))],
        "pyramiddrop": ["pyramiddrop", *(f"pyramiddrop:stages={stages}" for stages in range(2, half + 1))],
    }


def base_of(method: str) -> str:
    """What the chosen option and fitprune are held against: the method as published."""
    return method


def answer_of(
    boards: dict[str, Board], p_values: Tests, chosen: dict[tuple[str, float], str], at: float = KEY_BUDGET
) -> str:
    """The sentence: for each method its best option, against itself as published."""
    found = []
    for method, board in boards.items():
        best = (f"{method}, {BEST}", at)
        option = chosen[method, at]
        if option == method:
            found.append(f"no option of {method} did better than the paper's")
            continue
        said = verdict(
            option, f"{method} as published", board.against(best, (method, at)), p_values.get((method, best))
        )
        right = f"{share_words(board.right(best))}, fitprune on {share_words(board.right(('fitprune', at)))}"
        found.append(f"{option}, the best on the questions to choose by, is right on {right}: {said}")
    return sentence(f"with {budget(at)} of the visual FLOPs saved, {'; '.join(found)}")


def _tried(trial: Board) -> Table:
    rows = [[name, right, same] for name, right, same, _ in way_rows(trial, "", lambda _: None)]
    about = f"{trial.count} questions to choose by, percent with 95 % intervals. What cannot meet a budget is left out."
    return Table(["tried", "right", "as the original"], rows, about)


def _tested(boards: dict[str, Board], p_values: Tests, chosen: dict[tuple[str, float], str]) -> Table:
    rows = rows_across(boards, base_of, p_values)
    which = "; ".join(f"{method} at {budget(at)}: {option}" for (method, at), option in chosen.items())
    about = (
        f"All test questions, percent with 95 % intervals; tests against the method as published, corrected together "
        f"(Holm). Chosen: {which}."
    )
    return Table(["method: way", "right", "as the original", "against itself as published"], rows, about)
