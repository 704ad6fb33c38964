"""11. The same methods in other models."""

from __future__ import annotations

from app.evidence.bench import Bench, variant
from app.evidence.board import Board
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, FEW
from app.evidence.section import Section, Table, left_out
from app.evidence.ways import PLUS, RIVALS, Tests, bars_across, rows_across, tests_across
from app.evidence.words import budget, outcome, sentence, tally, test_cell
from fitprune_core import PruningRecipe
from fitprune_core.checks.words import plural

TITLE = "Other models"
QUESTION = "Is what holds for one model true of others, each with recipes from its own statistics?"


def run(bench: Bench) -> Section:
    """Answer the few questions with every model by every method; the bench's own model leads."""
    if not bench.also:
        return left_out(TITLE, QUESTION, "no other model was named (`--also`)")
    section = Section(TITLE, QUESTION)
    boards: dict[str, Board] = {}
    recipes: dict[str, list[PruningRecipe]] = {}
    for each in bench.with_others():
        name = f"{each.title} ({each.geometry.num_layers} layers)"
        recipes[name] = each.recipes(each.statistics(each.sets[CALIBRATION]), bench.plan.section_budgets)
        variants = [variant(method, recipe) for recipe in recipes[name] for method in (PLUS, *RIVALS)]
        boards[name] = each.answers(f"11-models-{len(boards) + 1}", each.sets[FEW], variants)
    # The bench's own model is tested with all of the test questions, in section 10.
    others = dict(list(boards.items())[1:])
    p_values = tests_across(others, base_of)
    section.tables = [_grid(others, p_values), _table(boards, p_values), _recipes(recipes)]
    section.figures["11-models"] = bars_across(boards)
    section.raw = [board.path for board in boards.values()]
    section.answer = answer_of(others, p_values)
    spread = 100 * max(board.spread() for board in boards.values())
    section.counted = f"the FLOPs, at a budget the same for all methods of a model to within {spread:.2f} points"
    section.measured = "each model's attention over the questions to calibrate on, and its answers"
    section.notes = [
        f"{name}: {which} was left out: {why}."
        for name, board in boards.items()
        for which, why in board.refused.items()
    ]
    if bench.has_world:
        section.notes.append(
            "The other models are relatives, not independent witnesses (assets/evidence/models): shallower ones keep "
            "the first layers of the decoder of the mini-llava before this one, another seed began with noise in every "
            "matrix of this one's, and all were trained further by the same program with seeds of their own."
        )
    return section


def base_of(_: str) -> str:
    """What the rivals are held against in every model."""
    return PLUS


def answer_of(boards: dict[str, Board], p_values: Tests, at: float = KEY_BUDGET) -> str:
    """The sentence: fitprune+ against each rival, in how many models it is better and in how many not."""
    said = []
    for rival in RIVALS:
        found = [
            outcome(board.against((PLUS, at), (rival, at)), p_values.get((name, (rival, at))))
            for name, board in boards.items()
        ]
        said.append(f"against {rival} {tally(found)}")
    models = f"{len(boards)} other {plural('model', len(boards))}"
    return sentence(f"with {budget(at)} of the visual FLOPs saved, {PLUS} in {models}: {'; '.join(said)}")


def _grid(boards: dict[str, Board], p_values: Tests) -> Table:
    """fitprune+ against each rival, a row a model and budget."""
    rows = []
    for name, board in boards.items():
        for at in board.budgets:
            pairs = {rival: board.against((PLUS, at), (rival, at)) for rival in RIVALS}
            cells = [test_cell(pair, p_values.get((name, (rival, at)))) for rival, pair in pairs.items()]
            rows.append([f"{name}, {budget(at)}", *cells])
    about = f"{PLUS} against each rival: above 0 where {PLUS} is ahead. The tests are those of the next table."
    return Table(["model", *RIVALS], rows, about)


def _table(boards: dict[str, Board], p_values: Tests) -> Table:
    rows = rows_across(boards, base_of, p_values)
    count = next(iter(boards.values())).count
    about = (
        f"{count} of the test questions: percent with 95 % intervals; tests against fitprune+ in the same model at the "
        "same budget, all of this table corrected together (Holm)."
    )
    return Table(["model: way", "right", "as the original", "against fitprune+"], rows, about)


def _recipes(recipes: dict[str, list[PruningRecipe]]) -> Table:
    rows = [
        [name, budget(recipe.reduction), ", ".join(f"{count} after {layer}" for layer, count in dropping(recipe))]
        for name, found in recipes.items()
        for recipe in found
    ]
    return Table(["model", "budget", "fitprune drops"], rows, "Visual tokens dropped after a layer's attention.")


def dropping(recipe: PruningRecipe) -> list[tuple[int, int]]:
    """(layer, counted from 1, and tokens dropped after it), where any are."""
    return [(layer, count) for layer, count in enumerate(recipe.removed, 1) if count]
