"""6. What predicts that an answer will change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from matplotlib.figure import Figure

from app.evidence.bench import Bench, read_rows, variant
from app.evidence.board import Board, Way
from app.evidence.figures import bars, panels
from app.evidence.first_tokens import COLUMNS, first_tokens
from app.evidence.numbers import Estimate, auc, auc_within
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, FEW
from app.evidence.section import Section, Table
from app.evidence.sections import methods
from app.evidence.ways import PLUS, name_of
from app.evidence.words import NOTHING, budget, estimate_cell, listed, percent, sentence

TITLE = "What predicts a changed answer"
QUESTION = "Can it be known without the original's answer that pruning has changed it?"
# What a question is of tells by itself: how many answers to other questions of its kind changed.
KIND = "kind of question"
# What is in the rows of the answers themselves.
LEAST = "least sure token's margin"
Predictions = Mapping[tuple[Way, str], Estimate | None]
METHODS = ("fitprune", "random")
# Whose answers' own margin is looked at on all test questions.
MARKED = ("fitprune", PLUS, "cross-only", "divprune", "random")
# A changed answer with a margin from here on gave no sign.
SURE = 0.99
# What may predict, whether the larger or the smaller number should mean a change (decided before looking), and when
# it is known.
PREDICTORS = {
    "first token's margin, original": ("margin_original", -1, "after the original's prefill"),
    "first token's margin, pruned": ("margin_pruned", -1, "after the pruned prefill alone"),
    "first tokens' divergence": ("divergence", 1, "after both prefills"),
}
NUMBERS = (*PREDICTORS, LEAST)


def run(bench: Bench) -> Section:
    """Look at the first token of every answer, as it is and pruned, and at which answers changed."""
    recipes = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), bench.plan.section_budgets)
    variants = [variant(method, recipe) for recipe in recipes for method in METHODS]
    board = bench.answers("6-answers", bench.sets[FEW], variants)
    path = bench.write("6-first-tokens", COLUMNS, first_tokens(bench, bench.sets[FEW], variants))
    section = Section(TITLE, QUESTION, raw=[board.path, path])
    rows, others = list(read_rows(path)), methods.board_of(bench)
    found = {**predictions_of(board, rows), **by_kind(board, changes_of_kinds(others, without=board))}
    within = predictions_within(board, rows)
    everywhere = predictions_of(others, [], MARKED)
    kinds, inside = kinds_of_others(others), predictions_within(others, [], MARKED)
    section.tables = [_marked(others, everywhere, kinds, inside), _table(board, found, within)]
    section.raw.append(others.path)
    section.figures["6-flips"] = _figure(everywhere, found)
    section.answer = answer_of(everywhere, kinds, inside, others.count)
    section.counted = "nothing"
    section.measured = "the first token's distribution of both models, and which answers changed"
    return section


def predictions_of(
    board: Board, rows: Sequence[Mapping[str, str]], methods: Collection[str] = METHODS
) -> dict[tuple[Way, str], Estimate | None]:
    """How well each number tells the questions whose answer changes from the others (AUC); rows as in the raw table."""
    return {
        key: auc(*_apart(numbers, board.flips(key[0])))
        for key, numbers in _numbers(board, rows).items()
        if key[0][0] in methods
    }


def predictions_within(
    board: Board, rows: Sequence[Mapping[str, str]], methods: Collection[str] = METHODS
) -> dict[tuple[Way, str], Estimate | None]:
    """The same among questions of one kind, all kinds together: what the kind tells by itself is left out."""
    kind_of, found = board.kind_of(), {}
    for (way, name), numbers in _numbers(board, rows).items():
        if way[0] not in methods:
            continue
        kinds: dict[str, dict[str, float]] = {}
        for question, number in numbers.items():
            kinds.setdefault(kind_of[question], {})[question] = number
        flips = board.flips(way)
        found[way, name] = auc_within([_apart(of_kind, flips) for of_kind in kinds.values()])
    return found


def changes_of_kinds(board: Board, without: Board) -> dict[Way, dict[str, float]]:
    """For every way the share of changed answers by kind, of questions that another board does not have."""
    known, kind_of = set(without.kind_of()), board.kind_of()
    found: dict[Way, dict[str, float]] = {}
    for way in board.ways[1:]:
        flips: dict[str, list[bool]] = {}
        for question, flip in board.flips(way).items():
            if question not in known:
                flips.setdefault(kind_of[question], []).append(flip)
        found[way] = {kind: sum(each) / len(each) for kind, each in flips.items()}
    return found


def by_kind(board: Board, changes: Mapping[Way, Mapping[str, float]]) -> dict[tuple[Way, str], Estimate | None]:
    """How well the kind of a question tells whether its answer changes, from `changes` seen elsewhere (AUC)."""
    kind_of, found = board.kind_of(), {}
    for way in board.ways[1:]:
        known = changes.get(way, {})
        numbers = {question: known[kind] for question, kind in kind_of.items() if kind in known}
        found[way, KIND] = auc(*_apart(numbers, board.flips(way)))
    return found


def kinds_of_others(board: Board, methods: Collection[str] = MARKED) -> dict[tuple[Way, str], Estimate | None]:
    """How well the kind of a question tells whether its answer changes, by all other questions of the kind (AUC)."""
    kind_of, found = board.kind_of(), {}
    for way in (way for way in board.ways[1:] if way[0] in methods):
        flips = board.flips(way)
        counts = Counter(kind_of[question] for question in flips)
        changed = Counter(kind_of[question] for question, flip in flips.items() if flip)
        numbers = {
            question: (changed[kind] - flip) / (counts[kind] - 1)
            for question, flip in flips.items()
            if counts[kind := kind_of[question]] > 1
        }
        found[way, KIND] = auc(*_apart(numbers, flips))
    return found


def _numbers(board: Board, rows: Sequence[Mapping[str, str]]) -> dict[tuple[Way, str], dict[str, float]]:
    """Of each way and predictor the numbers by question, the larger the more a change is to be expected."""
    found: dict[tuple[Way, str], dict[str, float]] = {(way, name): {} for way in board.ways[1:] for name in NUMBERS}
    for way in board.ways[1:]:
        found[way, LEAST] = {question: -margin for question, margin in board.margins(way).items()}
    for row in rows:
        for name, (column, sign, _) in PREDICTORS.items():
            of_way = found.get(((row["variant"], float(row["budget"])), name))
            if of_way is not None:
                of_way[row["id"]] = sign * float(row[column])
    return found


def _apart(numbers: Mapping[str, float], flips: Mapping[str, bool]) -> tuple[list[float], list[float]]:
    """The numbers of questions whose answer changed, and of those whose answer did not."""
    both = [question for question in flips if question in numbers]
    return [numbers[each] for each in both if flips[each]], [numbers[each] for each in both if not flips[each]]


def answer_of(
    margins: Predictions, kinds: Predictions, within: Predictions, asked: int = 0, at: float = KEY_BUDGET
) -> str:
    """The sentence: how well an answer's own margin tells, by each method; and what its question's kind tells alone.

    All of the test questions, `asked`; within: the margin among questions of one kind.
    """

    def listing(estimates: Predictions, name: str, is_telling: bool) -> list[str]:
        return [
            f"{way[0]} {each.value:.2f}"
            for (way, key), each in estimates.items()
            if way[1] == at and key == name and each is not None and (each.low > 0.5) is is_telling
        ]

    telling, silent = (listing(margins, LEAST, each) for each in (True, False))
    words = f"with {budget(at)} saved, "
    if not telling and not silent:
        return sentence(f"{words}either no answer changed or all did, so nothing can predict a change")
    if telling:
        words += f"a small margin of its least sure token goes with a changed answer (AUC on {asked:,} test questions: "
        words += f"{listed(telling)}{'; no better than chance: ' + listed(silent) if silent else ''})"
    else:
        words += f"no answer's own margin tells better than chance that it was changed (AUC: {listed(silent)})"
    if by_kind := listing(kinds, KIND, True):
        words += f". Its question's kind tells by itself ({listed(by_kind)})"
        inside = listing(within, LEAST, True)
        words += "; among questions of one kind the margin tells "
        words += f"as well ({listed(inside)})" if inside else "nothing"
    return sentence(words)


def _marked(board: Board, margins: Predictions, kinds: Predictions, within: Predictions) -> Table:
    rows = []
    for way in (way for way in board.ways[1:] if way[0] in MARKED):
        flips, margin_of = board.flips(way), board.margins(way)
        sure = [margin_of[question] >= SURE for question, flip in flips.items() if flip and question in margin_of]
        rows.append([
            name_of(way), f"{sum(flips.values())} of {len(flips)}", estimate_cell(margins.get((way, LEAST))),
            estimate_cell(kinds.get((way, KIND))), estimate_cell(within.get((way, LEAST))),
            percent(sum(sure) / len(sure)) if sure else NOTHING,
        ])  # fmt: skip
    about = (
        "All test questions: how often an answer that was changed has a smaller margin, at its least sure token, than "
        "one that was not (AUC; 0.5: no better than chance), with Newcombe's 95 % interval. Known after the pruned "
        "answer alone; what the app calls unsure is by this number. Kind: how many answers to the other questions of "
        "the same kind changed. In a kind: the margin among questions of one kind alone (Wald's interval with Hanley "
        f"and McNeil's variances). Sure all the same: the changed answers with a margin of {SURE} or more. Margins are "
        "kept with three decimals, so that many are equal."
    )
    header = ["way", "changed", f"{LEAST} (AUC)", f"{KIND} (AUC)", "the margin in a kind (AUC)", "sure all the same"]
    return Table(header, rows, about)


def _table(board: Board, found: Predictions, within: Predictions) -> Table:
    rows = []
    for way in board.ways[1:]:
        flips = board.flips(way)
        changed = f"{sum(flips.values())} of {len(flips)}"
        cells = [estimate_cell(found[way, name]) for name in (KIND, *NUMBERS)]
        inside = [estimate_cell(within[way, name]) for name in NUMBERS]
        rows.append([f"{way[0]} {budget(way[1])}", changed, *cells, *inside])
    when = "; ".join(f"{name}: known {known}" for name, (_, _, known) in PREDICTORS.items())
    about = (
        "AUC: how often a question whose answer changes has the smaller margin, or the larger divergence, than one "
        "whose answer stays (0.5: no better than chance), with Newcombe's 95 % interval. Margin: by how much the "
        "likeliest first token is likelier than the next; divergence: Jensen and Shannon's, in bits. "
        f"{when}; {LEAST}: that of its least sure token, known after the pruned answer alone. Kind: how many answers "
        "to the other test questions of the same kind changed. The last columns compare questions of one kind alone "
        "(Wald's interval with Hanley and McNeil's variances)."
    )
    header = ["method", "changed", KIND, *NUMBERS, *(f"{name}, in a kind" for name in NUMBERS)]
    return Table(header, rows, about)


def _figure(everywhere: Predictions, found: Predictions) -> Figure:
    figure, axes_of = panels([f"All test questions: {LEAST}", "Some of them, fitprune: other numbers as well"], width=7)
    told = {name_of(way): each for (way, name), each in everywhere.items() if name == LEAST and each}
    others = {f"{budget(way[1])}: {name}": each for (way, name), each in found.items() if each and way[0] == "fitprune"}
    for axes, values in zip(axes_of, (told, others), strict=True):
        bars(axes, values, factor=1.0)
        axes.axvline(0.5, color="#222222", linestyle=":", linewidth=1)
        axes.set_xlim(0, 1)
        axes.set_xlabel("AUC")
    return figure
