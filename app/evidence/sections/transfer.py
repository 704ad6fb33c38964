"""5. Recipes of one world, used in the other."""

from __future__ import annotations

from app.demo_model.crowded import WORLDS
from app.evidence.bench import Bench, variant
from app.evidence.board import Board, Way, corrected
from app.evidence.figures import panels
from app.evidence.numbers import recipe_distance
from app.evidence.plan import CALIBRATION_SEED, KEY_BUDGET, TEST_SEED
from app.evidence.section import Section, Table
from app.evidence.ways import at_key_budget, bars_of_right, way_rows
from app.evidence.words import budget, percent, sentence, verdict
from fitprune_core import PruningRecipe

TITLE = "Transfer between worlds"
QUESTION = "Does a recipe that was fitted on plain scenes serve crowded ones, and the other way round?"


def run(bench: Bench) -> Section:
    """Fit on each world, answer in each world by each recipe."""
    section, plan = Section(TITLE, QUESTION), bench.plan
    recipes: dict[str, list[PruningRecipe]] = {}
    for world in WORLDS:
        questions = bench.drawn(f"calibration, {world}", plan.calibration, CALIBRATION_SEED, (world,))
        recipes[world] = bench.recipes(bench.statistics(questions), plan.section_budgets)
    boards = {}
    for world in WORLDS:
        questions = bench.drawn(f"test, {world}", plan.few, TEST_SEED, (world,))
        variants = [variant("fitprune", recipe, f"fitted on {name}") for name, of in recipes.items() for recipe in of]
        boards[world] = bench.answers(f"5-transfer-{world}", questions, variants)
    p_values = tests_of(boards)
    section.tables = [_table(boards, p_values), _distances(recipes)]
    section.raw = [board.path for board in boards.values()]
    section.figures["5-transfer"] = _figure(boards)
    section.answer = answer_of(boards, p_values)
    section.counted = "the distance of the recipes"
    section.measured = "attention in each world, and answers to questions about each"
    return section


def tests_of(boards: dict[str, Board]) -> dict[tuple[str, Way], float | None]:
    """The recipe of the other world against that of the questions' own, by world and way; corrected together."""
    pairs = {
        (world, way): board.against(way, (f"fitted on {world}", way[1]))
        for world, board in boards.items()
        for way in board.ways[1:]
        if way[0] != f"fitted on {world}"
    }
    return corrected(pairs)


def answer_of(boards: dict[str, Board], p_values: dict[tuple[str, Way], float | None], at: float = KEY_BUDGET) -> str:
    """The sentence: in each world the foreign recipe against its own."""
    parts = []
    for (world, way), p in p_values.items():
        if way[1] == at:
            own = (f"fitted on {world}", at)
            said = verdict(f"the recipe {way[0]} scenes", "their own", boards[world].against(way, own), p)
            parts.append(f"on {world} scenes {said}")
    return sentence(f"with {budget(at)} saved, {'; '.join(parts)}")


def _table(boards: dict[str, Board], p_values: dict[tuple[str, Way], float | None]) -> Table:
    rows: list[list[str]] = []
    for world, board in boards.items():
        p_of = {way: p for (where, way), p in p_values.items() if where == world}.get
        rows += way_rows(board, f"fitted on {world}", p_of, f"{world}: ")
    about = "Percent with 95 % intervals. The test is against the recipe of the questions' own world, corrected (Holm)."
    return Table(["questions: recipe", "right", "as the original", "against their own"], rows, about)


def _distances(recipes: dict[str, list[PruningRecipe]]) -> Table:
    pairs = zip(*recipes.values(), strict=True)
    rows = [[budget(one.reduction), percent(recipe_distance(one, other))] for one, other in pairs]
    return Table(["budget", "distance"], rows, "Dropped tokens that lie at another layer in the other world's recipe.")


def _figure(boards: dict[str, Board]):
    figure, found = panels([f"{world} scenes, {budget(KEY_BUDGET)} saved" for world in boards])
    for axes, board in zip(found, boards.values(), strict=True):
        bars_of_right(axes, board, at_key_budget(board), "% right")
    return figure
