"""5. Recipes of one world, used in the others; and of one seed of the model, used in another."""

from __future__ import annotations

from collections.abc import Mapping, Set
from itertools import combinations
from statistics import fmean

from app.demo_model.crowded import WORLDS
from app.evidence.bench import Bench, variant
from app.evidence.board import Board
from app.evidence.numbers import Pooled, pooled_difference, recipe_distance
from app.evidence.plan import CALIBRATION_SEED, KEY_BUDGET, TEST_SEED
from app.evidence.questions import CALIBRATION, EASY_VQA, FEW
from app.evidence.section import Section, Table
from app.evidence.ways import Tests, bars_across, rows_across, tests_across
from app.evidence.words import budget, listed, outcome, p_cell, percent, sentence, tally
from fitprune_core import PruningRecipe

TITLE = "Transfer between worlds, and between seeds of the model"
QUESTION = (
    "Does a recipe that was fitted on plain scenes serve crowded ones and easy-VQA, and the other way round? And that "
    "of one model another one of the same shape?"
)


def run(bench: Bench) -> Section:
    """Fit on each world, answer in each world by each recipe."""
    section, plan = Section(TITLE, QUESTION), bench.plan
    sources, asked = {}, {}
    for world in WORLDS:
        sources[world] = bench.drawn(f"calibration, {world}", plan.calibration, CALIBRATION_SEED, (world,))
        asked[world] = bench.drawn(f"test, {world}", plan.few, TEST_SEED, (world,), to_answer=True)
    if EASY_VQA in bench.sets:
        sources[EASY_VQA], asked[EASY_VQA] = bench.easy_vqa_to_calibrate(), bench.sets[EASY_VQA]
    recipes = {
        name: bench.recipes(bench.statistics(questions), plan.section_budgets) for name, questions in sources.items()
    }
    variants = [variant("fitprune", recipe, own_recipe(name)) for name, of in recipes.items() for recipe in of]
    boards = {name: bench.answers(f"5-transfer-{name}", questions, variants) for name, questions in asked.items()}
    models, of_models = between_models(bench)
    boards |= models
    section.figures["5-transfer"] = bars_across({_pictures(name): board for name, board in boards.items()})
    p_values = tests_across(boards, own_recipe)
    section.tables = [_table(boards, p_values), _distances(recipes, of_models)]
    section.raw = [board.path for board in boards.values()]
    section.answer = answer_of(boards, p_values, frozenset(models))
    section.counted = "the distance of the recipes"
    section.measured = "attention in each world, and answers to questions about each"
    section.notes = [f"The recipe of {name} is of {sources[name].origin}." for name in sources]
    if models:
        section.notes.append(
            f"Models of the same shape ({listed(list(models))}) are asked {bench.sets[FEW].count} of the test "
            "questions, each with its own recipe and those of the others, all fitted on the same samples."
        )
    return section


def between_models(bench: Bench) -> tuple[dict[str, Board], dict[str, list[PruningRecipe]]]:
    """What models of the bench's shape answer by each other's recipes, and these; by the names of the models.

    Empty where no other model has that shape.
    """
    recipes = {
        each.title: each.recipes(each.statistics(each.sets[CALIBRATION]), bench.plan.section_budgets)
        for each in bench.with_others()
        if each.geometry == bench.geometry
    }
    if len(recipes) < 2:
        return {}, {}
    variants = [variant("fitprune", recipe, own_recipe(name)) for name, of in recipes.items() for recipe in of]
    boards: dict[str, Board] = {}
    for each in bench.with_others():
        if each.title in recipes:
            boards[each.title] = each.answers(f"5-transfer-model-{len(boards) + 1}", each.sets[FEW], variants)
    return boards, recipes


def _pictures(world: str) -> str:
    return f"{world} scenes" if world in WORLDS else world


def own_recipe(world: str) -> str:
    """What the recipe of the questions' own world is called."""
    return f"fitted on {world}"


def answer_of(boards: dict[str, Board], p_values: Tests, models: Set[str] = frozenset(), at: float = KEY_BUDGET) -> str:
    """The sentence: recipes of other worlds against their own, all worlds together and counted; and of models."""
    together = pooled({world: board for world, board in boards.items() if world not in models}, at)
    said = []
    if together is not None:
        value, low, high = (100 * each for each in (together.value, together.low, together.high))
        said.append(
            f"with {budget(at)} saved, recipes of other worlds change {value:+.1f} points of what their own get right, "
            f"all worlds together ({low:.1f} to {high:.1f}, p {p_cell(together.p)})"
        )
    parts: dict[bool, list[str]] = {False: [], True: []}
    for (world, way), p in p_values.items():
        if way[1] == at:
            parts[world in models].append(outcome(boards[world].against(way, (own_recipe(world), at)), p))
    for which, found in zip(("other worlds", "other models"), parts.values(), strict=True):
        if found:
            said.append(f"recipes of {which}, one by one: {tally(found)} of {len(found)} uses")
    return " ".join(map(sentence, said))


def pooled(boards: Mapping[str, Board], at: float) -> Pooled | None:
    """How much more recipes of other worlds get right than their own, mean over all their answers, at a budget.

    One question, asked by several foreign recipes, counts once, by the mean of them: the p-value is of the signs of the
    questions flipped (scipy's permutation test), and the interval a t interval over them. None where no world has a
    foreign recipe.
    """
    found: list[float] = []
    for world, board in boards.items():
        own = board.marks((own_recipe(world), at))
        foreign = [board.marks(way) for way in board.ways[1:] if way[1] == at and way[0] != own_recipe(world)]
        for question, mine in own.items():
            others = [of[question] for of in foreign if question in of]
            if others:
                found.append(fmean(others) - mine)
    return pooled_difference(found)


def _table(boards: dict[str, Board], p_values: Tests) -> Table:
    rows = rows_across(boards, own_recipe, p_values)
    about = "Percent with 95 % intervals. The test is against the recipe of the questions' own world, corrected (Holm)."
    return Table(["questions: recipe", "right", "as the original", "against their own"], rows, about)


def _distances(*groups: dict[str, list[PruningRecipe]]) -> Table:
    """Of the recipes of each group from each other."""
    rows = [
        [f"{_pictures(name)}, {_pictures(other)}", budget(one.reduction), percent(recipe_distance(one, two))]
        for recipes in groups
        for name, other in combinations(recipes, 2)
        for one, two in zip(recipes[name], recipes[other], strict=True)
    ]
    return Table(["recipes of", "budget", "distance"], rows, "Dropped tokens that lie at another layer in the other.")
