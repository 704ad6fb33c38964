"""6. What predicts that an answer will change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.evidence.bench import Bench, read_rows, variant
from app.evidence.board import Board, Way
from app.evidence.figures import bars, panels
from app.evidence.first_tokens import COLUMNS, first_tokens
from app.evidence.numbers import Estimate, auc
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, FEW
from app.evidence.section import Section, Table
from app.evidence.words import budget, estimate_cell, listed, sentence

TITLE = "What predicts a changed answer"
QUESTION = "Can it be known before an answer is given that pruning will change it?"
METHODS = ("fitprune", "random")
# What may predict, whether the larger or the smaller number should mean a change (decided before looking), and when
# it is known.
PREDICTORS = {
    "margin of the original": ("margin_original", -1, "after the original's prefill"),
    "margin of the pruned": ("margin_pruned", -1, "after the pruned prefill alone"),
    "divergence of both": ("divergence", 1, "after both prefills"),
}


def run(bench: Bench) -> Section:
    """Look at the first token of every answer, as it is and pruned, and at which answers changed."""
    recipes = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), bench.plan.section_budgets)
    variants = [variant(method, recipe) for recipe in recipes for method in METHODS]
    board = bench.answers("6-answers", bench.sets[FEW], variants)
    path = bench.write("6-first-tokens", COLUMNS, first_tokens(bench, bench.sets[FEW], variants))
    section = Section(TITLE, QUESTION, raw=[board.path, path])
    found = predictions_of(board, list(read_rows(path)))
    section.tables = [_table(board, found)]
    section.figures["6-flips"] = _figure(found)
    section.answer = answer_of(found)
    section.counted = "nothing"
    section.measured = "the first token's distribution of both models, and which answers changed"
    return section


def predictions_of(board: Board, rows: Sequence[Mapping[str, str]]) -> dict[tuple[Way, str], Estimate | None]:
    """How well each number tells the questions whose answer changes from the others (AUC); rows as in the raw table."""
    values: dict[Way, dict[str, Mapping[str, str]]] = {}
    for row in rows:
        values.setdefault((row["variant"], float(row["budget"])), {})[row["id"]] = row
    found: dict[tuple[Way, str], Estimate | None] = {}
    for way in board.ways[1:]:
        flips = {question: flip for question, flip in board.flips(way).items() if question in values.get(way, {})}
        for name, (column, sign, _) in PREDICTORS.items():
            numbers = {question: sign * float(values[way][question][column]) for question in flips}
            changed, same = (
                [numbers[each] for each, flip in flips.items() if flip is wanted] for wanted in (True, False)
            )
            found[way, name] = auc(changed, same)
    return found


def answer_of(found: Mapping[tuple[Way, str], Estimate | None], at: float = KEY_BUDGET) -> str:
    """The sentence: which numbers tell, at a budget, of fitprune's answers."""
    mine = {name: estimate for (way, name), estimate in found.items() if way == ("fitprune", at)}
    known = {name: estimate for name, estimate in mine.items() if estimate is not None}
    if not known:
        return sentence(
            f"with {budget(at)} saved, either no answer changed or all did, so nothing can predict a change"
        )
    telling = [f"{name} (AUC {estimate_cell(each)})" for name, each in known.items() if each.low > 0.5]
    silent = [f"{name} (AUC {estimate_cell(each)})" for name, each in known.items() if each.low <= 0.5]
    words = f"with {budget(at)} saved by fitprune, "
    if not telling:
        return sentence(f"{words}nothing tells better than chance which answers change: {listed(silent)}")
    words += f"which answers change is told by {listed(telling)}"
    return sentence(words + (f", and no better than by chance by {listed(silent)}" if silent else ""))


def _table(board: Board, found: Mapping[tuple[Way, str], Estimate | None]) -> Table:
    rows = []
    for way in board.ways[1:]:
        flips = board.flips(way)
        changed = f"{sum(flips.values())} of {len(flips)}"
        rows.append([f"{way[0]} {budget(way[1])}", changed, *(estimate_cell(found[way, name]) for name in PREDICTORS)])
    when = "; ".join(f"{name}: known {known}" for name, (_, _, known) in PREDICTORS.items())
    about = (
        "AUC: how often a question whose answer changes has the smaller margin, or the larger divergence, than one "
        "whose answer stays (0.5: no better than chance), with Newcombe's 95 % interval. Margin: by how much the "
        f"likeliest first token is likelier than the next; divergence: Jensen and Shannon's, in bits. {when}."
    )
    return Table(["method", "changed", *PREDICTORS], rows, about)


def _figure(found: Mapping[tuple[Way, str], Estimate | None]):
    figure, (axes,) = panels(["How well a change is predicted"], width=8)
    bars(axes, {f"{way[0]} {budget(way[1])}: {name}": each for (way, name), each in found.items() if each}, factor=1.0)
    axes.axvline(0.5, color="#222222", linestyle=":", linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_xlabel("AUC")
    return figure
