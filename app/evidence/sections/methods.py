"""1. Every registered method at equal FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import THE_ORIGINAL, Board, Way, corrected
from app.evidence.figures import curves, panels
from app.evidence.numbers import mean_share
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, EASY_VQA, FEW, TEST
from app.evidence.section import Section, Table
from app.evidence.ways import PLUS, tests_against, way_rows
from app.evidence.words import (
    NOTHING,
    budget,
    estimate_cell,
    gflops_cell,
    listed,
    p_cell,
    percent_of,
    sentence,
    share_cell,
    share_words,
    test_cell,
    verdict,
)
from fitprune_core import METHODS
from fitprune_core.evaluation.significance import SIGNIFICANT
from fitprune_core.run.results import ORIGINAL

TITLE = "Methods at equal FLOPs"
QUESTION = "Every registered method saves the same FLOPs by its own rule: which answers most questions right?"
FITPRUNE, RANDOM, CROSS = "fitprune", "random", "cross-only"
PAPERS_RULE = "fitprune, the paper's rule"
ORDERS = ("random:seed=1", "random:seed=2")
# What the figure's first panel shows, and what both do.
_ON_THE_RECIPE = (FITPRUNE, "self-only", CROSS, "last-token", RANDOM, "uniform")
_BOTH = (FITPRUNE, RANDOM, PLUS)
_RIVALS = (ORIGINAL, RANDOM, FITPRUNE, CROSS)


def run(bench: Bench) -> Section:
    """Answer the test questions by every method at every budget."""
    section = Section(TITLE, QUESTION)
    plan = bench.plan
    bench.answer_ahead(bench.sets[TEST], [*_on_the_test(bench), *_orders_variants(bench)])
    board = board_of(bench)
    boards = {
        "": board,
        "-curve": bench.answers(
            "1-methods-curve", bench.sets[FEW], _variants(bench, sorted({*plan.budgets, *plan.curve_budgets}))
        ),
    }
    if EASY_VQA in bench.sets:
        easy = _variants(bench, plan.easy_budgets)
        boards["-easy-vqa"] = bench.answers("1-methods-easy-vqa", bench.sets[EASY_VQA], easy)
    else:
        section.notes.append("easy-VQA was not asked: " + ("the package easy-vqa is not there." if bench.has_world else
                             "its words are the demonstration model's."))  # fmt: skip
    p_values = corrected_tests(board)
    for name, each in boards.items():
        where = {"": "The test questions", "-curve": "More budgets, on some of them", "-easy-vqa": "easy-VQA"}[name]
        section.tables.append(_right(each, where))
        if each is board:
            section.tables += [_requests(board), _tests(board, p_values)]
        section.raw.append(each.path)
        section.notes += [f"{which} was left out: {why}." for which, why in each.refused.items()]
    section.tables += [_by_kind(board, each) for each in plan.budgets] if board.kinds else []
    orders = orders_of(bench)
    section.tables.append(_orders(orders))
    section.raw.append(orders.path)
    section.notes.append(
        "A budget is a share of the decoder's FLOPs on visual tokens; what a method computes to choose by is not in "
        f"it, but in the whole request. {FITPRUNE} is this library's fit, in which few layers drop, and its rule was "
        f"settled on this model; {PAPERS_RULE} is the fit without it. The other authors' methods run as they published "
        "them, for decoders of 32 layers (section 12 tries two of them with others of their options); variants of "
        "fitprune+ were chosen on scenes of the same kind, of another seed. random is one order of the tokens, the "
        "same for every picture; the last table has more of them. The figure shows all budgets on "
        f"{boards['-curve'].count} of the test questions."
    )
    if bench.has_world:
        section.notes.append(
            "visionzip-dominant ranks by what the vision tower's class token looks at. mini-llava's tower is local, "
            "and that token looks at all patches alike: the order is rounding's, another one on another processor."
        )
    section.figures["1-methods"] = _figure(boards["-curve"])
    section.answer = answer_of(board, p_values)
    if lost := losing_kinds(board):
        section.notes.append(sentence(f"{PLUS} is worse by kind of question: {'; '.join(lost)}"))
    section.counted = f"the FLOPs, at a budget the same for all to within {100 * board.spread():.2f} points"
    section.measured = f"answers to {board.count} questions, by every method that is named"
    return section


def board_of(bench: Bench) -> Board:
    """All methods on all test questions, which other sections speak of, too."""
    return bench.answers("1-methods", bench.sets[TEST], _on_the_test(bench))


def orders_of(bench: Bench) -> Board:
    """fitprune, and random by several orders of the tokens, on all test questions."""
    return bench.answers("1-methods-orders", bench.sets[TEST], _orders_variants(bench))


def _orders_variants(bench: Bench) -> list[Variant]:
    recipes = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), bench.plan.budgets)
    return [variant(order, recipe) for recipe in recipes for order in (FITPRUNE, RANDOM, *ORDERS)]


def _on_the_test(bench: Bench) -> list[Variant]:
    """Every method, and FitPrune by its paper's rule alone."""
    statistics, budgets = bench.statistics(bench.sets[CALIBRATION]), bench.plan.budgets
    plain = bench.recipes(statistics, budgets, gather=False)
    return [*_variants(bench, budgets), *(variant(FITPRUNE, recipe, PAPERS_RULE) for recipe in plain)]


def _variants(bench: Bench, budgets: Sequence[float]) -> list[Variant]:
    recipes = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), budgets)
    return [variant(method, recipe) for recipe in recipes for method in METHODS]


def corrected_tests(board: Board) -> dict[tuple[Way, str], float | None]:
    """McNemar's p of every way against the original and each rival at its budget; all of a table together."""
    pairs = {}
    for way in board.ways[1:]:
        for rival in (_rival(name, way[1]) for name in _RIVALS):
            # One rival against another is that one against the first: one test.
            if rival != way and (rival, way[0]) not in pairs:
                pairs[way, rival[0]] = board.against(way, rival)
    return corrected(pairs)


def _rival(name: str, at: float) -> Way:
    return THE_ORIGINAL if name == ORIGINAL else (name, at)


def p_of(p_values: Mapping[tuple[Way, str], float | None], way: Way, rival: Way) -> float | None:
    """The p-value of two ways, whichever of them was tested against the other."""
    return p_values.get((way, rival[0]), p_values.get((rival, way[0])))


def answer_of(board: Board, p_values: dict[tuple[Way, str], float | None], at: float = KEY_BUDGET) -> str:
    """The sentence: what is best at a budget, and whether it and fitprune differ from what they are held against."""
    ways = [way for way in board.ways if way[1] == at]
    best, fitprune, random = board.best(ways)[0], (FITPRUNE, at), (RANDOM, at)
    plus, cross = (PLUS, at), (CROSS, at)
    equal = [name for name, budget in ways if board.right((name, budget)) == board.right(best)]
    words = (
        f"with {budget(at)} of the visual FLOPs saved {listed(equal)} {'is' if len(equal) == 1 else 'are'} right most "
        f"often, on {share_words(board.right(best))} of the questions (the original: "
        f"{percent_of(board.right(THE_ORIGINAL))})"
    )
    pairs = [(fitprune, random)]
    if not {FITPRUNE, RANDOM} & set(equal):
        pairs.append((best, fitprune))
    if {PLUS, CROSS} <= {name for name, _ in ways}:
        pairs += [(cross, fitprune)] * (best != cross) + [(plus, cross)]
    found = [verdict(one[0], two[0], board.against(one, two), p_of(p_values, one, two)) for one, two in pairs]
    return sentence(f"{words}; {listed(found)}")


def _names(board: Board) -> list[str]:
    return list(dict.fromkeys(name for name, _ in board.ways[1:]))


def _right(board: Board, where: str) -> Table:
    budgets = board.budgets
    rows = [["original", *([share_cell(board.right(THE_ORIGINAL))] * len(budgets))]]
    rows += [[name, *(share_cell(board.right((name, each))) for each in budgets)] for name in _names(board)]
    about = (
        f"{where}, {board.count:,}: percent right, and its 95 % interval (Wilson), at each share of visual FLOPs saved."
    )
    return Table(["right", *map(budget, budgets)], rows, about)


def _requests(board: Board) -> Table:
    """What answers are the original's, and what a whole request costs."""
    budgets, full = board.budgets, board.total_gflops(THE_ORIGINAL)
    rows = [
        [name, *(share_cell(board.same((name, each))) for each in budgets),
         *(gflops_cell(board.total_gflops((name, each))) for each in budgets)]
        for name in _names(board)
    ]  # fmt: skip
    header = ["way", *(f"as the original, {budget(each)}" for each in budgets)]
    about = (
        "The same: percent of answers that are the original's; and the whole request, mean GFLOPs of vision tower, "
        f"text, scoring and decoding as well (the original: {gflops_cell(full)})."
    )
    return Table([*header, *(f"whole request, {budget(each)}" for each in budgets)], rows, about)


def _tests(board: Board, p_values: dict[tuple[Way, str], float | None]) -> Table:
    rows = []
    for name, reduction in board.ways[1:]:
        way = (name, reduction)
        rivals = [_rival(each, reduction) for each in _RIVALS]
        cells = [test_cell(board.against(way, rival), p_of(p_values, way, rival)) for rival in rivals]
        rows.append([f"{name} {budget(reduction)}", *cells])
    about = (
        "Each method against the original, and against three rivals at the same budget, all of this table corrected "
        "together (Holm)."
    )
    return Table(["against", "the original", *_RIVALS[1:]], rows, about)


def losing_kinds(board: Board) -> list[str]:
    """Where fitprune+ is worse than fitprune, cross-only or random among the questions of one kind, in words.

    All kinds, budgets and rivals are corrected together (Holm).
    """
    pairs = {
        (kind, reduction, rival): board.against((PLUS, reduction), (rival, reduction), kind)
        for kind in board.kinds
        for reduction in board.budgets
        for rival in (FITPRUNE, CROSS, RANDOM)
    }
    p_values = corrected(pairs)
    found = []
    for (kind, reduction, rival), pair in pairs.items():
        p = p_values[kind, reduction, rival]
        if pair is not None and p is not None and p <= SIGNIFICANT and pair.won < pair.lost:
            mine, theirs = (board.right((name, reduction), kind) for name in (PLUS, rival))
            shares = f"{share_words(mine)} against {share_words(theirs)} by {rival}"
            found.append(f"{kind} at {budget(reduction)}, {shares}, p {p_cell(p)}")
    return found


def _by_kind(board: Board, at: float) -> Table:
    ways = [THE_ORIGINAL, *(way for way in board.ways if way[1] == at)]
    rows = []
    for kind in board.kinds:
        shares = [board.right(way, kind) for way in ways]
        rows.append([f"{kind}, {shares[0].asked if shares[0] else 0}", *map(share_cell, shares)])
    of_kinds = [[share.value for kind in board.kinds if (share := board.right(way, kind))] for way in ways]
    rows.append(["mean of the kinds", *(f"{100 * fmean(each):.1f}" if each else NOTHING for each in of_kinds)])
    about = (
        f"Percent right by kind of question, and how many of it, {budget(at)} of the visual FLOPs saved. How many "
        "there are of each is the drawn world's choice; the mean of the kinds counts each once."
    )
    return Table([f"kind, {budget(at)}", *(name for name, _ in ways)], rows, about)


def _orders(orders: Board) -> Table:
    """fitprune and every order of random, the mean of the orders below them."""
    rows = way_rows(orders, FITPRUNE, tests_against(orders, FITPRUNE).get)
    for each in orders.budgets:
        names = [name for name in _names(orders) if name != FITPRUNE]
        shares = [share.value for name in names if (share := orders.right((name, each))) is not None]
        mean = estimate_cell(mean_share(shares), 1, 100) if shares else NOTHING
        rows.append([f"mean of {len(shares)} orders, {budget(each)}", mean, NOTHING, NOTHING])
    about = (
        f"Random by {1 + len(ORDERS)} orders of the tokens, {orders.count} questions: percent with 95 % intervals, of "
        "the mean by t over the orders; tests against fitprune at the same budget corrected together (Holm)."
    )
    return Table(["order", "right", "as the original", "against fitprune"], rows, about)


def _figure(board: Board):
    """The methods that chose by attention or by nothing, and the others, beside fitprune+ and random in both."""
    figure, found = panels(["Rankings on FitPrune's recipe", "Other authors' methods, and fitprune+"])
    for axes, own in zip(found, (True, False), strict=True):
        names = [name for name in _names(board) if name in _BOTH or (name in _ON_THE_RECIPE) is own]
        lines = {
            name: [
                (100 * way[1], share)
                for way in board.ways
                if way[0] == name and (share := board.right(way)) is not None
            ]
            for name in names
        }
        if (original := board.right(THE_ORIGINAL)) is not None:
            axes.axhline(100 * original.value, color="#222222", linestyle=":", linewidth=1, label="original")
        curves(axes, lines)
        axes.set_xlabel("visual FLOPs saved, %")
        axes.set_ylabel("right, % of the questions")
    lowest = min(axes.get_ylim()[0] for axes in found)
    for axes in found:  # one scale: some methods are in both
        axes.set_ylim(lowest, 101)
    return figure
