"""2. The schedule and the ranking, each apart from the other."""

from __future__ import annotations

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import THE_ORIGINAL, Board
from app.evidence.figures import panels
from app.evidence.numbers import even_recipe
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, FEW
from app.evidence.section import Section, Table
from app.evidence.sections import methods
from app.evidence.ways import bars_of_right, tests_against
from app.evidence.words import budget, outcomes, percent, sentence, share_cell, test_cell
from fitprune_core import AttentionStatistics, PruningRecipe, fit_recipe
from fitprune_core.models.family import family_of
from fitprune_core.pruning.methods import find_method

TITLE = "The schedule apart from the ranking"
QUESTION = "A recipe says how many tokens go at which layer, a ranking says which: what is each of them worth?"
RECIPE, BEFORE = "the recipe", "all before the decoder"
EVEN, SHARES, PLAIN = "equally many at every layer", "an equal share at every layer", "the paper's rule at every layer"
# Rankings on FitPrune's recipe, and schedules of FitPrune's ranking and of none.
RANKINGS = ("fitprune", "self-only", "cross-only", "last-token", "uniform", "random", "random:seed=1", "random:seed=2")
SCHEDULES = {"one shot": "one-shot", "a staircase": "staircase", BEFORE: "before"}
SCHEDULED = ("fitprune", "random")
BASE = f"fitprune, {RECIPE}"


def run(bench: Bench) -> Section:
    """Answer by every ranking on the recipe, and by FitPrune's ranking and none on every schedule."""
    statistics = bench.statistics(bench.sets[CALIBRATION])
    recipes = bench.recipes(statistics, bench.plan.section_budgets)
    refused: dict[str, str] = {}
    variants = [each for recipe in recipes for each in variants_of(bench, statistics, recipe, refused)]
    board = bench.answers("2-schedules", bench.sets[FEW], variants)
    section = Section(TITLE, QUESTION, raw=[board.path])
    p_values = tests_against(board, BASE)
    section.tables = [_table(board, p_values)]
    section.figures["2-schedules"] = _figure(board)
    section.answer = answer_of(board, p_values, methods.orders_of(bench))
    section.counted = f"the FLOPs, at a budget the same for all to within {100 * board.spread():.2f} points"
    section.measured = f"answers to {board.count} questions"
    section.notes = [
        "The recipe is this library's fit, in which few layers drop, those that displace fewest tokens, because a drop "
        "costs time; the paper's rule at every layer is the same fit without that."
    ]
    section.notes += [f"Not possible: {which} ({why})." for which, why in {**refused, **board.refused}.items()]
    return section


def variants_of(
    bench: Bench, statistics: AttentionStatistics, recipe: PruningRecipe, refused: dict[str, str]
) -> list[Variant]:
    """All variants at the budget of a recipe; what the registry's options do not allow is added to `refused`."""
    found = [variant(name, recipe, f"{find_method(name).label}, {RECIPE}") for name in RANKINGS]
    first = family_of(bench.model.config).first_drop_layer(bench.model.config)
    plain = fit_recipe(statistics, recipe.reduction, gather=False)
    for ranking in SCHEDULED:
        found.append(variant(ranking, plain, f"{ranking}, {PLAIN}"))
        for words, schedule in {**SCHEDULES, SHARES: f"staircase@{bench.geometry.num_layers}"}.items():
            try:
                found.append(variant(f"{ranking}:schedule={schedule}", recipe, f"{ranking}, {words}"))
            except ValueError as error:
                refused[f"{ranking}, {words}"] = str(error)
        try:
            found.append(variant(ranking, even_recipe(recipe, bench.geometry, first), f"{ranking}, {EVEN}"))
        except ValueError as error:
            refused[f"{ranking}, {EVEN}, at {budget(recipe.reduction)}"] = str(error)
    return found


def answer_of(
    board: Board, p_values: dict[tuple[str, float], float | None], orders: Board, at: float = KEY_BUDGET
) -> str:
    """The sentence: what the ranking is worth on one schedule, and what the schedule is worth with one ranking.

    orders: fitprune and random orders on all test questions, of which those of `board` are some: the ranking is theirs
    to tell, and one order at random is no more than one draw.
    """
    base, chances = (methods.FITPRUNE, at), tests_against(orders, methods.FITPRUNE)
    by_order = {way: orders.against(base, way) for way in chances if way[1] == at}
    found = {f"order {number}": (pair, chances[way]) for number, (way, pair) in enumerate(by_order.items(), 1)}
    said = [
        f"with {budget(at)} saved, fitprune's ranking on its recipe against orders at random ({orders.count:,} "
        f"questions, section 1): {outcomes(found, 'than')}"
    ]
    for each in reversed(board.budgets):
        others = [way for way in board.ways if way[1] == each and way[0].startswith("fitprune, ") and way[0] != BASE]
        schedules = {
            way[0].removeprefix("fitprune, "): (board.against((BASE, each), way), p_values.get(way)) for way in others
        }
        if schedules:
            said.append(
                f"its recipe with its ranking against other schedules, {budget(each)} saved ({board.count} questions): "
                f"{outcomes(schedules, 'than')}"
            )
    return " ".join(map(sentence, said))


def _table(board: Board, p_values: dict[tuple[str, float], float | None]) -> Table:
    budgets = board.budgets
    header = ["ranking, schedule"]
    for each in budgets:
        header += [f"right, {budget(each)}", "against fitprune on the recipe"]
    rows = []
    for name in dict.fromkeys(name for name, _ in board.ways[1:]):
        cells = [name]
        for each in budgets:
            way = (name, each)
            cells += [share_cell(board.right(way)), test_cell(board.against(way, (BASE, each)), p_values.get(way))]
        rows.append(cells)
    original = board.right(THE_ORIGINAL)
    words = "" if original is None else f" The original: {percent(original.value)}."
    about = (
        f"Percent right of {board.count} questions with 95 % intervals; tests against fitprune's own ranking and "
        f"recipe, all of this table corrected together (Holm).{words}"
    )
    return Table(header, rows, about)


def _figure(board: Board):
    figure, (axes,) = panels([f"Right answers, {budget(KEY_BUDGET)} of the visual FLOPs saved"], width=8)
    bars_of_right(axes, board, {way: way[0] for way in board.ways if way[1] == KEY_BUDGET})
    return figure
