"""10. FitPrune+ against its parts, and what each part is worth."""

from __future__ import annotations

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import Board, Way
from app.evidence.figures import panels
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, FEW, TEST
from app.evidence.section import Section, Table
from app.evidence.ways import PLUS, RIVALS, at_key_budget, bars_of_right, tests_against, way_rows
from app.evidence.words import budget, listed, outcomes, sentence, share_words
from fitprune_core import PruningRecipe

TITLE = "FitPrune+ taken apart"
QUESTION = (
    "fitprune+ lets the most different tokens in, fewer and fewer of them go on, and none beyond half of the decoder. "
    "Does it beat what it is made of, and what is each part worth?"
)
# What takes the place of the most different tokens, at the same schedule. Divprune is the other half of it alone.
OTHERS_ENTER = {"random tokens enter": "random", "evenly spaced tokens enter": "uniform"}


def run(bench: Bench) -> Section:
    """Hold fitprune+ against its parts on all test questions and on easy-VQA, and leave one part out at a time."""
    section, plan = Section(TITLE, QUESTION), bench.plan
    statistics = bench.statistics(bench.sets[CALIBRATION])
    rivals = [variant(name, recipe) for recipe in bench.recipes(statistics, plan.budgets) for name in (PLUS, *RIVALS)]
    boards = {"the test questions": bench.answers("10-combination", bench.sets[TEST], rivals)}
    if (easy := bench.easy_vqa_to_compare()) is not None:
        recipes = bench.recipes(statistics, plan.easy_budgets)
        rivals = [variant(name, recipe) for recipe in recipes for name in (PLUS, *RIVALS)]
        boards["easy-VQA"] = bench.answers("10-combination-easy-vqa", easy, rivals)
        section.notes.append(f"Of easy-VQA {PLUS} and its rivals are asked {easy.origin}.")
    budgets = sorted({*plan.section_budgets, *(each for each in plan.curve_budgets if each > KEY_BUDGET)})
    parts = [each for recipe in bench.recipes(statistics, budgets) for each in variants_of(bench, recipe)]
    ablation = bench.answers("10-ablation", bench.sets[FEW], parts)
    tests = {name: tests_against(board, PLUS) for name, board in boards.items()}
    section.tables = [_table(board, tests[name], name) for name, board in boards.items()]
    section.tables.append(_table(ablation, tests_against(ablation, PLUS), "the first of the test questions"))
    section.figures["10-combination"] = _figure(ablation)
    section.answer = answer_of(boards, tests) + " " + parts_of(ablation, tests_against(ablation, PLUS))
    everything = [*boards.values(), ablation]
    section.raw = [board.path for board in everything]
    spread = 100 * max(board.spread() for board in everything)
    section.counted = f"the FLOPs, at a budget the same for all to within {spread:.2f} points"
    section.measured = f"answers to {listed([f'{board.count} questions' for board in everything])}"
    section.notes += [f"{which} was left out: {why}." for board in everything for which, why in board.refused.items()]
    section.notes.append(
        "What was tried on the questions to choose by before this became fitprune+, and what it gave, is in the guide "
        "(assets/guide/fitprune-plus.md)."
    )
    return section


def variants_of(bench: Bench, recipe: PruningRecipe) -> list[Variant]:
    """fitprune+, its rivals, and fitprune+ with one part replaced, at the budget of a recipe."""
    found = [variant(name, recipe) for name in (PLUS, *RIVALS)]
    found += [variant(f"{name}:schedule=withdrawal", recipe, words) for words, name in OTHERS_ENTER.items()]
    layers = bench.geometry.num_layers
    for words, layer in {"a third": layers // 3, "two thirds": 2 * layers // 3, "all layers": layers}.items():
        if 1 <= layer != layers // 2:
            found.append(variant(f"{PLUS}:layer={layer}", recipe, f"all leave after {words}"))
    return found


def answer_of(boards: dict[str, Board], tests: dict[str, dict[Way, float | None]], at: float = KEY_BUDGET) -> str:
    """The sentence: how often fitprune+ is right at a budget, and whether its parts and random are less often."""
    found = []
    for name, board in boards.items():
        plus = (PLUS, at)
        pairs = {rival: (board.against(plus, (rival, at)), tests[name].get((rival, at))) for rival in RIVALS}
        found.append(f"on {name} {PLUS} is right on {share_words(board.right(plus))}, {outcomes(pairs, 'than')}")
    return " ".join(map(sentence, [f"with {budget(at)} of the visual FLOPs saved, {found[0]}", *found[1:]]))


def parts_of(ablation: Board, p_values: dict[Way, float | None], at: float = KEY_BUDGET) -> str:
    """The sentence about what takes a part's place: fitprune+ against each, at a budget."""
    pairs = {
        way[0]: (ablation.against(way, (PLUS, at)), p_values.get(way))
        for way in ablation.ways[1:]
        if way[1] == at and way[0] not in (PLUS, *RIVALS)
    }
    if not pairs:
        return ""
    return sentence(f"with one part of it replaced ({ablation.count} questions): {outcomes(pairs, 'where')}")


def _table(board: Board, p_values: dict[Way, float | None], where: str) -> Table:
    about = (
        f"{where[0].upper()}{where[1:]}, {board.count:,}: percent with 95 % intervals; tests against fitprune+ at the "
        "same budget, all of this table corrected together (Holm)."
    )
    header = ["way", "right", "as the original", "against fitprune+"]
    return Table(header, way_rows(board, PLUS, p_values.get), about)


def _figure(board: Board):
    figure, (axes,) = panels([f"Right answers, {budget(KEY_BUDGET)} of the visual FLOPs saved"], width=8)
    bars_of_right(axes, board, at_key_budget(board))
    return figure
