"""5. Recipes of one world, used in the other."""

from __future__ import annotations

from app.demo_model.crowded import WORLDS
from app.evidence.bench import Bench, variant
from app.evidence.board import Board
from app.evidence.numbers import recipe_distance
from app.evidence.plan import CALIBRATION_SEED, KEY_BUDGET, TEST_SEED
from app.evidence.section import Section, Table
from app.evidence.ways import Tests, bars_across, rows_across, tests_across
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
        questions = bench.drawn(f"test, {world}", plan.few, TEST_SEED, (world,), to_answer=True)
        variants = [variant("fitprune", recipe, own_recipe(name)) for name, of in recipes.items() for recipe in of]
        boards[world] = bench.answers(f"5-transfer-{world}", questions, variants)
    p_values = tests_across(boards, own_recipe)
    section.tables = [_table(boards, p_values), _distances(recipes)]
    section.raw = [board.path for board in boards.values()]
    section.figures["5-transfer"] = bars_across(boards, " scenes")
    section.answer = answer_of(boards, p_values)
    section.counted = "the distance of the recipes"
    section.measured = "attention in each world, and answers to questions about each"
    return section


def own_recipe(world: str) -> str:
    """What the recipe of the questions' own world is called."""
    return f"fitted on {world}"


def answer_of(boards: dict[str, Board], p_values: Tests, at: float = KEY_BUDGET) -> str:
    """The sentence: in each world the foreign recipe against its own."""
    parts = []
    for (world, way), p in p_values.items():
        if way[1] == at:
            own = (own_recipe(world), at)
            said = verdict(f"the recipe {way[0]} scenes", "their own", boards[world].against(way, own), p)
            parts.append(f"on {world} scenes {said}")
    return sentence(f"with {budget(at)} saved, {'; '.join(parts)}")


def _table(boards: dict[str, Board], p_values: Tests) -> Table:
    rows = rows_across(boards, own_recipe, p_values)
    about = "Percent with 95 % intervals. The test is against the recipe of the questions' own world, corrected (Holm)."
    return Table(["questions: recipe", "right", "as the original", "against their own"], rows, about)


def _distances(recipes: dict[str, list[PruningRecipe]]) -> Table:
    pairs = zip(*recipes.values(), strict=True)
    rows = [[budget(one.reduction), percent(recipe_distance(one, other))] for one, other in pairs]
    return Table(["budget", "distance"], rows, "Dropped tokens that lie at another layer in the other world's recipe.")
