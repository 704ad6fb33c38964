"""13. What it is worth to ask again, unpruned, where the pruned answer is unsure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import THE_ORIGINAL, Board, Way, corrected
from app.evidence.figures import panels
from app.evidence.plan import CHOICE_SEED
from app.evidence.questions import CALIBRATION, CHOICE, TEST, Questions
from app.evidence.section import Section, Table
from app.evidence.ways import PLUS, bars_of_right, name_of
from app.evidence.words import NOTHING, budget, gflops_cell, outcomes, percent, sentence, share_cell, test_cell
from fitprune_core.evaluation.significance import McNemar

TITLE = "Asking again where a pruned answer is unsure"
QUESTION = (
    "A pruned answer tells by itself how sure it is. Of two ways that save equally much on average, which is right "
    "more often: pruning every request to one budget, or pruning harder and asking the unsure ones again, unpruned?"
)
METHODS = ("fitprune", PLUS)
# How much harder the first answer may be pruned: shares of what a budget leaves to be saved.
HARDER = (0.125, 0.25, 0.375, 0.5)
# By what comes of a plan: its method at the budget that costs as many visual FLOPs, and as many FLOPs in all.
Once = Mapping[Way, tuple[Way, Way]]


@dataclass(frozen=True)
class Plan:
    """To save `target` in all: answer by `first`, and ask again what has a margin below `below`."""

    target: float
    first: Variant
    below: float

    @property
    def method(self) -> str:
        """The method that answers first."""
        return self.first.name

    @property
    def before(self) -> Way:
        """The answers that are looked at."""
        return self.method, self.first.reduction

    @property
    def after(self) -> Way:
        """What comes of it."""
        return again(self.method), self.target


def again(method: str) -> str:
    """What a method is called whose unsure answers are asked again."""
    return f"{method}, unsure ones asked again"


def run(bench: Bench) -> Section:
    """Choose budget and margin on the questions to choose by; compare on the test questions at as many FLOPs."""
    statistics, plan = bench.statistics(bench.sets[CALIBRATION]), bench.plan
    harder = sorted({round(target + (1 - target) * share, 6) for target in plan.budgets for share in HARDER})
    variants = [variant(method, recipe) for recipe in bench.recipes(statistics, harder) for method in METHODS]
    trial = bench.answers("13-again-choice", _to_choose_by(bench), variants)
    found = (best_plan(trial, variants, method, target) for target in plan.budgets for method in METHODS)
    plans = [each for each in found if each is not None]
    first = list({each.before: each.first for each in plans}.values())
    board = bench.answers("13-again", bench.sets[TEST], first)
    ask_again(board, plans)
    # What a plan saves depends on how unsure the test answers are, not on which are right; one budget gets as much.
    once = {each.after: ((each.method, board.saved(each.after)), (each.method, left_to_save(board, each)))
            for each in plans}  # fmt: skip
    budgets = dict.fromkeys(way for pair in once.values() for way in pair)
    fitted = [variant(name, recipe) for name, at in budgets for recipe in bench.recipes(statistics, [at])]
    board = bench.answers("13-again", bench.sets[TEST], [*first, *fitted])
    ask_again(board, plans)
    section = Section(TITLE, QUESTION, raw=[trial.path, board.path])
    section.tables = [_table(board, plans, once)]
    section.figures["13-again"] = _figure(board, plans, once)
    section.answer = answer_of(board, plans, once)
    section.counted = "the FLOPs; those of an answer that is asked again are those of both"
    section.measured = f"answers and margins, on the {trial.count} questions to choose by and on the test questions"
    section.notes = [
        "A second answer also costs its text's prefill and its tokens, and here the vision tower a second time: a "
        "budget, which is about the decoder's FLOPs on visual tokens, has none of this, so the comparison is made at "
        "as many of those and at as many FLOPs of the whole request. Whoever waits for a second answer waits for both."
    ]
    return section


def left_to_save(board: Board, each: Plan) -> float:
    """The share of visual FLOPs that one budget may save to cost as many FLOPs as a plan does, the whole request."""
    full, first, asked = (board.gflops(THE_ORIGINAL), board.gflops(each.before), board.total_gflops(each.after))
    of_first = board.total_gflops(each.before)
    if not full or first is None or asked is None or of_first is None:
        return board.saved(each.after)
    # What is no work on visual tokens, scoring included, is as much as for the answers that the plan begins with.
    return 1 - (asked - (of_first - first)) / full


def _to_choose_by(bench: Bench) -> Questions:
    """More questions of that seed: few answers are unsure, and it is among those that a margin is chosen."""
    if not bench.has_world:
        return bench.sets[CHOICE]
    return bench.drawn("choice, more of it", bench.plan.further_choice, CHOICE_SEED, to_answer=True)


def best_plan(trial: Board, variants: Sequence[Variant], method: str, target: float) -> Plan | None:
    """Of a method's budgets above `target`, with the margin that spends what is left, the one with most right answers.

    Of equals the smallest budget, which asks least again; None where no budget is larger.
    """
    plans = [
        Plan(target, each, below)
        for each in sorted(variants, key=lambda each: each.reduction)
        if each.name == method
        and each.reduction > target
        and (below := margin_for(trial, (method, each.reduction), target)) is not None
    ]
    if not plans:
        return None
    names = [(f"tried {method} {number}", target) for number in range(len(plans))]
    for name, each in zip(names, plans, strict=True):
        trial.ask_again(each.before, each.below, name)
    return plans[names.index(trial.best(names)[0])]


def margin_for(board: Board, way: Way, target: float) -> float | None:
    """The margin below which answers of `way` are asked again, so that all together still save `target`.

    None for a way that did not answer.
    """
    if way not in board.ways:
        return None
    margins = sorted(board.margins(way).values())
    count = int((board.saved(way) - target) * len(margins))  # each costs the original's FLOPs on top
    return margins[count] if 0 <= count < len(margins) else None


def ask_again(board: Board, plans: Sequence[Plan]) -> None:
    """Add what comes of the plans to a board that has the answers they begin with."""
    for each in plans:
        board.ask_again(each.before, each.below, each.after)


def _tests(board: Board, plans: Sequence[Plan], once: Once) -> dict[tuple[Way, Way], McNemar | None]:
    """Every plan against its method at one budget, for as many visual FLOPs and for as many in all."""
    return {(each.after, way): board.against(each.after, way) for each in plans for way in once[each.after]}


def answer_of(board: Board, plans: Sequence[Plan], once: Once) -> str:
    """The sentence: every plan against its method throughout, at as many visual FLOPs and at as many in all."""
    if not plans:
        return "No budget left anything to ask again with."
    tests = _tests(board, plans, once)
    p_values = corrected(tests)
    said = []
    for number, what in enumerate(("visual FLOPs", "FLOPs of the whole request")):
        found = {}
        for each in plans:
            pair = each.after, once[each.after][number]
            found[f"{each.method} with {percent(pair[1][1])} saved"] = tests[pair], p_values[pair]
        said.append(f"against pruning once for as many {what} it is {outcomes(found, 'for')}")
    return sentence(f"asking unsure answers again: {'; '.join(said)}")


def _asked_again(board: Board, each: Plan) -> float:
    """The share of the answers that a plan asks again."""
    margins = board.margins(each.before).values()
    return sum(margin < each.below for margin in margins) / len(margins) if margins else 0.0


def _table(board: Board, plans: Sequence[Plan], once: Once) -> Table:
    tests = _tests(board, plans, once)
    p_values = corrected(tests)

    def row(way: Way, name: str, asked_again: float, test: str) -> list[str]:
        return [name, percent(board.saved(way)), gflops_cell(board.total_gflops(way)), percent(asked_again),
                share_cell(board.right(way)), test]  # fmt: skip

    rows = [row(THE_ORIGINAL, "original", 0.0, NOTHING)]
    for each in plans:
        rows.append(row(each.before, name_of(each.before), 0.0, NOTHING))
        rows.append(row(each.after, name_of(each.after), _asked_again(board, each), NOTHING))
        for way, what in zip(once[each.after], ("as many visual FLOPs", "as many in all"), strict=True):
            pair = each.after, way
            rows.append(row(way, f"{name_of(way)}: {what}", 0.0, test_cell(tests[pair], p_values[pair])))
    chosen = "; ".join(
        f"{each.method} for {budget(each.target)}: prune to {budget(each.first.reduction)}, ask again below a margin "
        f"of {each.below:.3f}"
        for each in plans
    )
    about = (
        "All test questions, percent with 95 % intervals. Margin: of the answer's least sure token. Budget and margin "
        f"were chosen on other questions, among budgets that save {', '.join(map(budget, HARDER))} of what is left "
        f"({chosen}); the method is then fitted to what that saves on the test questions, of visual FLOPs and of all. "
        "The tests are of the answers asked again against each, above 0 where those are ahead, corrected together "
        "(Holm)."
    )
    header = ["way", "visual FLOPs saved", "whole request, GFLOPs", "asked again", "right", "asked again, against it"]
    return Table(header, rows, about)


def _figure(board: Board, plans: Sequence[Plan], once: Once) -> Figure:
    figure, (axes,) = panels(["Right answers for as many FLOPs"], width=8)
    names = {THE_ORIGINAL: "original"}
    for each in plans:
        names[each.after] = f"{name_of((each.method, each.target))}: asked again"
        for way, what in zip(once[each.after], ("as many visual FLOPs", "as many in all"), strict=True):
            names[way] = f"{name_of(way)}: {what}"
    bars_of_right(axes, board, names, "% right")
    return figure
