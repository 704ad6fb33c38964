"""What is known of how well a model answers when it is pruned: its own evaluation says it, or nobody does.

The file is `evaluation.csv` in the model's folder of recipes, as `evaluate` writes it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fitprune_core.evaluation.outcomes import Outcomes, read_results, summaries
from fitprune_core.evaluation.sureness import Sureness, sureness_of
from fitprune_core.recipes.published import RECIPES, recipe_folder

EVALUATION = "evaluation.csv"
_METHOD = "fitprune"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """Right answers at a budget in percent, and of the model as it is, as shares of `asked` questions."""

    percent: float
    right: float
    original: float
    asked: int

    def sentence(self) -> str:
        """ "FitPrune evaluated at 80 %: 91.2 % of 2,000 answers right; 97.1 % without pruning."."""
        return (
            f"FitPrune evaluated at {self.percent:.3g} %: {100 * self.right:.1f} % of {self.asked:,} answers right; "
            f"{100 * self.original:.1f} % without pruning."
        )


@dataclass(frozen=True)
class Known:
    """An evaluation in short: what FitPrune got right, by rising budget, and how sure all methods were."""

    budgets: tuple[Evaluated, ...] = ()
    sureness: tuple[Sureness, ...] = ()

    def note_at(self, percent: float) -> str:
        """What was evaluated nearest to a budget, a sentence; nothing without an evaluation, or where nothing goes."""
        if not self.budgets or not percent:
            return ""
        return min(self.budgets, key=lambda each: abs(each.percent - percent)).sentence()


NOTHING = Known()


def read_known(model_name: str, weights: Callable[[], str], recipes: str | os.PathLike = RECIPES) -> Known:
    """What the evaluation of a model says; `NOTHING` where there is none, or it is one of other weights or dtype.

    weights: gives the digest of the model's weights, and is asked only where there is a file to compare with. A file
    that cannot be read is told in the log.
    """
    folder = recipe_folder(model_name, recipes)
    path = folder / EVALUATION if folder else None
    if path is None or not path.is_file():
        return NOTHING
    try:
        return _read(path, model_name, weights)
    except ValueError as error:
        logger.warning("the evaluation of %s is left aside: %s", model_name, error)
        return NOTHING


def _read(path: Path, model_name: str, weights: Callable[[], str]) -> Known:
    outcomes = read_results(path)
    if outcomes.weights != {weights()}:
        logger.warning("%s is of other weights, or another dtype, than %s has here; it is left aside", path, model_name)
        return NOTHING
    return Known(_budgets(outcomes), sureness_of(outcomes))


def _budgets(outcomes: Outcomes) -> tuple[Evaluated, ...]:
    original, *others = zip(outcomes.sides, summaries(outcomes), strict=True)
    if original[1].right is None:
        return ()
    found = [
        Evaluated(100 * side.reduction, summary.right.value, original[1].right.value, summary.right.asked)
        for side, summary in others
        if side.method == _METHOD and side.reduction is not None and summary.right is not None
    ]
    return tuple(sorted(found, key=lambda each: each.percent))
