"""13. What it is worth to ask again, unpruned, where the pruned answer is unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import THE_ORIGINAL, Board, Way, corrected
from app.evidence.plan import CHOICE_SEED, KEY_BUDGET
from app.evidence.questions import CALIBRATION, CHOICE, TEST, Questions
from app.evidence.section import Section, Table
from app.evidence.ways import name_of
from app.evidence.words import budget, percent, sentence, share_cell, share_words, test_cell, verdict

TITLE = "Asking again where a pruned answer is unsure"
QUESTION = (
    "A pruned answer tells by itself how sure it is. Of two ways that save equally much on average, which is right "
    "more often: pruning every request to one budget, or pruning harder and asking the unsure ones again, unpruned?"
)
METHOD = "fitprune"
AGAIN = f"{METHOD}, unsure ones asked again"


@dataclass(frozen=True)
class Plan:
    """To save `target` in all: answer by `first`, and ask again what has a margin below `below`."""

    target: float
    first: Variant
    below: float

    @property
    def before(self) -> Way:
        """The answers that are looked at."""
        return METHOD, self.first.reduction

    @property
    def after(self) -> Way:
        """What comes of it."""
        return AGAIN, self.target


def run(bench: Bench) -> Section:
    """Choose budget and margin on the questions to choose by; compare on the test questions at as many FLOPs."""
    statistics, plan = bench.statistics(bench.sets[CALIBRATION]), bench.plan
    pool = sorted({*plan.section_budgets, *plan.budgets, *plan.curve_budgets})
    harder = [each for each in pool if each > min(plan.budgets)]
    variants = [variant(METHOD, recipe) for recipe in bench.recipes(statistics, harder)]
    trial = bench.answers("13-again-choice", _to_choose_by(bench), variants)
    plans = [found for target in plan.budgets if (found := best_plan(trial, variants, target)) is not None]
    first = list({each.before: each.first for each in plans}.values())
    board = bench.answers("13-again", bench.sets[TEST], first)
    ask_again(board, plans)
    # What a plan saves depends on how unsure the test answers are, not on which are right; FitPrune gets as much.
    as_many = {each.after: board.saved(each.after) for each in plans}
    fitted = [variant(METHOD, recipe) for recipe in bench.recipes(statistics, as_many.values())]
    board = bench.answers("13-again", bench.sets[TEST], [*first, *fitted])
    ask_again(board, plans)
    section = Section(TITLE, QUESTION, raw=[trial.path, board.path])
    section.tables = [_table(board, plans, as_many)]
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


def best_plan(trial: Board, variants: Sequence[Variant], target: float) -> Plan | None:
    """Of the budgets above `target`, with the margin that spends what is left, the one with most right answers.

    Of equals the smallest budget, which asks least again; None where no budget is larger.
    """
    plans = [
        Plan(target, each, below)
        for each in sorted(variants, key=lambda each: each.reduction)
        if each.reduction > target and (below := margin_for(trial, (METHOD, each.reduction), target)) is not None
    ]
    if not plans:
        return None
    names = [(f"tried {number}", target) for number in range(len(plans))]
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
    again = int((board.saved(way) - target) * len(margins))  # each costs the original's FLOPs on top
    return margins[again] if 0 <= again < len(margins) else None


def ask_again(board: Board, plans: Sequence[Plan]) -> None:
    """Add what comes of the plans to a board that has the answers they begin with."""
    for each in plans:
        board.ask_again(each.before, each.below, each.after)


def _tests(board: Board, plans: Sequence[Plan], as_many: dict[Way, float]) -> dict[Way, float | None]:
    return corrected({each.after: board.against(each.after, (METHOD, as_many[each.after])) for each in plans})


def answer_of(board: Board, plans: Sequence[Plan], as_many: dict[Way, float], at: float = KEY_BUDGET) -> str:
    """The sentence: the plan for a budget against FitPrune at as many FLOPs."""
    p_values, found = _tests(board, plans, as_many), []
    for each in sorted(plans, key=lambda each: each.target != at):
        saved, base = as_many[each.after], (METHOD, as_many[each.after])
        again = _asked_again(board, each)
        said = verdict(
            "asking again", f"{METHOD} throughout", board.against(each.after, base), p_values.get(each.after)
        )
        found.append(
            f"with {percent(saved)} of the visual FLOPs saved on average, {METHOD} at {budget(each.first.reduction)} "
            f"that asks {percent(again)} of the questions again is right on {share_words(board.right(each.after))}, "
            f"{METHOD} throughout on {share_words(board.right(base))}: {said}"
        )
    return sentence("; ".join(found)) if found else "No budget left anything to ask again with."


def _asked_again(board: Board, each: Plan) -> float:
    """The share of the answers that a plan asks again."""
    margins = board.margins(each.before).values()
    return sum(margin < each.below for margin in margins) / len(margins) if margins else 0.0


def _table(board: Board, plans: Sequence[Plan], as_many: dict[Way, float]) -> Table:
    p_values = _tests(board, plans, as_many)
    rows = [[name_of(THE_ORIGINAL), "–", "–", share_cell(board.right(THE_ORIGINAL)), "–", "–"]]
    for each in plans:
        base = (METHOD, as_many[each.after])
        for way, again in ((each.before, 0.0), (each.after, _asked_again(board, each)), (base, 0.0)):
            test = test_cell(board.against(way, base), p_values.get(way)) if way == each.after else "–"
            rows.append([
                name_of(way), percent(board.saved(way)), percent(again), share_cell(board.right(way)),
                share_cell(board.same(way)), test,
            ])  # fmt: skip
    chosen = "; ".join(
        f"for {budget(each.target)}: prune to {budget(each.first.reduction)}, ask again below a margin of "
        f"{each.below:.3f}"
        for each in plans
    )
    about = (
        "All test questions, percent with 95 % intervals. Margin: of the answer's least sure token. Budget and margin "
        f"were chosen on other questions ({chosen}); {METHOD} is then fitted to what that saves on the test questions. "
        "The test is against it, corrected together (Holm)."
    )
    header = ["way", "saved, counted", "asked again", "right", "as the original", f"against {METHOD} at as many FLOPs"]
    return Table(header, rows, about)
