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
from app.evidence.words import budget, outcomes, percent, sentence, share_cell, share_words, test_cell
from fitprune_core.evaluation.significance import McNemar

TITLE = "Asking again where a pruned answer is unsure"
QUESTION = (
    "A pruned answer tells by itself how sure it is. Of two ways that save equally much on average, which is right "
    "more often: pruning every request to one budget, or pruning harder and asking the unsure ones again, unpruned?"
)
METHODS = ("fitprune", PLUS)
# How much harder the first answer may be pruned: shares of what a budget leaves to be saved.
HARDER = (0.125, 0.25, 0.375, 0.5)


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
    as_many = {each.after: board.saved(each.after) for each in plans}
    fitted = [
        variant(each.method, recipe) for each in plans for recipe in bench.recipes(statistics, [as_many[each.after]])
    ]
    board = bench.answers("13-again", bench.sets[TEST], [*first, *fitted])
    ask_again(board, plans)
    section = Section(TITLE, QUESTION, raw=[trial.path, board.path])
    section.tables = [_table(board, plans, as_many)]
    section.figures["13-again"] = _figure(board, plans, as_many)
    section.answer = answer_of(board, plans, as_many)
    section.counted = "the FLOPs; those of an answer that is asked again are those of both"
    section.measured = f"answers and margins, on the {trial.count} questions to choose by and on the test questions"
    section.notes = [
        "A second answer also costs its text's prefill and its tokens, and the vision tower unless its output is kept: "
        "none of this is in the decoder's FLOPs on visual tokens, which a budget is about. Whoever waits for a second "
        "answer waits for both."
    ]
    return section


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


def throughout(each: Plan, as_many: Mapping[Way, float]) -> Way:
    """The way that a plan is held against: its method at one budget, for as many FLOPs."""
    return each.method, as_many[each.after]


def _tests(board: Board, plans: Sequence[Plan], as_many: Mapping[Way, float]) -> dict[Way, McNemar | None]:
    return {each.after: board.against(each.after, throughout(each, as_many)) for each in plans}


def answer_of(board: Board, plans: Sequence[Plan], as_many: Mapping[Way, float]) -> str:
    """The sentence: every plan against its method throughout, at as many FLOPs."""
    if not plans:
        return "No budget left anything to ask again with."
    tests = _tests(board, plans, as_many)
    p_values = corrected(tests)
    found = {
        f"{each.method} with {percent(as_many[each.after])} saved, {share_words(board.right(each.after))} against "
        f"{share_words(board.right(throughout(each, as_many)))}": (tests[each.after], p_values[each.after])
        for each in plans
    }
    return sentence(f"asking unsure answers again, against pruning once for as many FLOPs: {outcomes(found)}")


def _asked_again(board: Board, each: Plan) -> float:
    """The share of the answers that a plan asks again."""
    margins = board.margins(each.before).values()
    return sum(margin < each.below for margin in margins) / len(margins) if margins else 0.0


def _table(board: Board, plans: Sequence[Plan], as_many: Mapping[Way, float]) -> Table:
    tests = _tests(board, plans, as_many)
    p_values = corrected(tests)
    rows = [[name_of(THE_ORIGINAL), "–", "–", share_cell(board.right(THE_ORIGINAL)), "–", "–"]]
    for each in plans:
        once = throughout(each, as_many)
        for way, share in ((each.before, 0.0), (each.after, _asked_again(board, each)), (once, 0.0)):
            test = test_cell(tests[way], p_values[way]) if way == each.after else "–"
            rows.append([
                name_of(way), percent(board.saved(way)), percent(share), share_cell(board.right(way)),
                share_cell(board.same(way)), test,
            ])  # fmt: skip
    chosen = "; ".join(
        f"{each.method} for {budget(each.target)}: prune to {budget(each.first.reduction)}, ask again below a margin "
        f"of {each.below:.3f}"
        for each in plans
    )
    about = (
        "All test questions, percent with 95 % intervals. Margin: of the answer's least sure token. Budget and margin "
        f"were chosen on other questions, among budgets that save {', '.join(map(budget, HARDER))} of what is left "
        f"({chosen}); the method is then fitted to what that saves on the test questions. The test is against it, "
        "corrected together (Holm)."
    )
    header = ["way", "saved, counted", "asked again", "right", "as the original", "against one budget, as many FLOPs"]
    return Table(header, rows, about)


def _figure(board: Board, plans: Sequence[Plan], as_many: Mapping[Way, float]) -> Figure:
    figure, (axes,) = panels(["Right answers for as many FLOPs"], width=8)
    names = {THE_ORIGINAL: "original"}
    for each in plans:
        saved = percent(as_many[each.after])
        names[each.after] = f"{each.method}, {saved}: asked again"
        names[throughout(each, as_many)] = f"{each.method}, {saved}: one budget"
    bars_of_right(axes, board, names, "% right")
    return figure
