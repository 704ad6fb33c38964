"""9. The wrong direction: what a benchmark that sorted the other way measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from app.evidence.bench import Bench, Variant, variant
from app.evidence.board import Board, Way, corrected
from app.evidence.figures import panels
from app.evidence.plan import KEY_BUDGET
from app.evidence.questions import CALIBRATION, FEW
from app.evidence.section import Section, Table
from app.evidence.ways import at_key_budget, bars_of_right, tests_against, way_rows
from app.evidence.words import budget, sentence, share_words, verdict
from fitprune_core import Candidates, LayerAttention, PruningRecipe
from fitprune_core.pruning.methods.fitprune import FitPrune

TITLE = "The wrong direction"
QUESTION = (
    "A published benchmark (UniPruneBench, arXiv 2511.02650) reports FitPrune below random; its code sorts ascending "
    "and keeps the least important tokens, once, at one layer. What does that alone do?"
)
WRONG, RIGHT, RANDOM, OWN = (
    "least important kept, once",
    "most important kept, once",
    "random, once",
    "fitprune's recipe",
)


@dataclass(frozen=True, kw_only=True)
class LeastImportant(FitPrune):
    """FitPrune's ranking upside down."""

    name = "least-important"
    paper = ""

    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        return -super().importance(attention, candidates)


def run(bench: Bench) -> Section:
    """Answer with the ranking upside down, the right way up, and none; all at one layer and at the same FLOPs."""
    recipes = bench.recipes(bench.statistics(bench.sets[CALIBRATION]), bench.plan.section_budgets)
    board = bench.answers("9-direction", bench.sets[FEW], [each for recipe in recipes for each in variants_of(recipe)])
    section = Section(TITLE, QUESTION, raw=[board.path])
    p_values = tests_against(board, RIGHT)
    section.tables = [_table(board, p_values)]
    section.figures["9-direction"] = _figure(board)
    section.answer = answer_of(board, p_values)
    section.counted = f"the FLOPs, at a budget the same for all to within {100 * board.spread():.2f} points"
    section.measured = f"answers to {board.count} questions"
    section.quoted = (
        "what that benchmark's code does, as this project read it (TianfanPeng/VLMUniPruneBench at f93768f, "
        "methods/FitPrune_IntraLLM.py); its figures are not repeated here"
    )
    section.notes = [f"{which} was left out: {why}." for which, why in board.refused.items()]
    return section


def variants_of(recipe: PruningRecipe) -> list[Variant]:
    """The four ways at the budget of a recipe."""
    once = "one-shot"
    return [
        variant(LeastImportant(schedule=once), recipe, WRONG),
        variant(FitPrune(schedule=once), recipe, RIGHT),
        variant(f"random:schedule={once}", recipe, RANDOM),
        variant("fitprune", recipe, OWN),
    ]


def answer_of(board: Board, p_values: dict[Way, float | None], at: float = KEY_BUDGET) -> str:
    """The sentence: what the direction alone changes."""
    wrong, right = (WRONG, at), (RIGHT, at)
    chance = RANDOM, at
    beside_chance = board.against(wrong, chance)
    shares = [share_words(board.right(way)) for way in (wrong, chance, right)]
    return sentence(
        f"with {budget(at)} saved at one layer, keeping the least important tokens gives {shares[0]} right, a random "
        f"choice {shares[1]} and keeping the most important ones {shares[2]}: "
        + verdict("the wrong direction", "the right one", board.against(wrong, right), p_values.get(wrong))
        + ", "
        + verdict("the wrong direction", "a random choice", beside_chance, corrected({0: beside_chance})[0])
        + ", and "
        + verdict("the right direction", "a random choice", board.against(right, chance), p_values.get(chance))
    )


def _table(board: Board, p_values: dict[Way, float | None]) -> Table:
    rows = way_rows(board, RIGHT, p_values.get)
    about = (
        f"{board.count} questions, percent with 95 % intervals. Once: all that the budget wants gone goes at one "
        "layer, the second where that saves enough, else the first. Tests corrected together (Holm)."
    )
    return Table(["what is kept", "right", "as the original", f"against {RIGHT}"], rows, about)


def _figure(board: Board):
    figure, (axes,) = panels([f"Right answers, {budget(KEY_BUDGET)} of the visual FLOPs saved"], width=8)
    bars_of_right(axes, board, at_key_budget(board))
    return figure
