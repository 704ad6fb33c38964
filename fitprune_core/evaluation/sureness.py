"""How sure a pruned answer is, and what that says: of evaluated answers as sure as it, how many did pruning change?

The pruned model alone is needed, and one evaluation of it beforehand: no answer of the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitprune_core.evaluation.outcomes import Outcomes, is_same
from fitprune_core.evaluation.significance import Share, share_of
from fitprune_core.run.results import ORIGINAL, Comparison, Pruning, title_of

NEAREST = 50
UNSURE = 0.25  # from this share of changed answers on, others as sure are called unsure
_UNSURE_MARGIN = 0.5  # below this an answer is called unsure where no evaluation says more


@dataclass(frozen=True)
class Sureness:
    """The evaluated answers of a method at a budget, the least sure first.

    margins: of each how much likelier its least sure token was than the next likeliest, 0 to 1; changed: whether it is
    another answer than the original's. recipe: as `PruningRecipe.counts`, empty where it is not known.
    """

    method: str
    reduction: float
    margins: tuple[float, ...]
    changed: tuple[bool, ...]
    recipe: str = ""

    def near(self, margin: float) -> Share | None:
        """The share of changed ones among the `NEAREST` answers about as sure, and all others not further from it.

        None where there are fewer.
        """
        if len(self.margins) < NEAREST:
            return None
        away = np.abs(np.array(self.margins) - margin)
        chosen = away <= np.partition(away, NEAREST - 1)[NEAREST - 1]
        return share_of(int(np.array(self.changed)[chosen].sum()), int(chosen.sum()))


def sureness_of(outcomes: Outcomes) -> tuple[Sureness, ...]:
    """Of every method and budget of an evaluation that says how sure its answers were."""
    original, found = outcomes.sides[0].answers, []
    for side in outcomes.sides[1:]:
        pairs = sorted(
            (mine.margin, not is_same(mine, first))
            for mine, first in zip(side.answers, original, strict=True)
            if mine is not None and first is not None and mine.margin is not None
        )
        if pairs and side.reduction is not None:
            margins, changed = zip(*pairs, strict=True)
            found.append(Sureness(side.method, side.reduction, margins, changed, side.recipe))
    return tuple(found)


def doubts(comparison: Comparison, evaluated: Sequence[Sureness] = ()) -> tuple[str, str]:
    """What speaks against the first and the second answer of a comparison, see `doubt`. evaluated: of its model."""
    first, second = comparison.against, doubt(comparison.pruned.margin, comparison, evaluated)
    return "" if first is None else doubt(comparison.original.margin, first, evaluated), second


def doubt(margin: float | None, side: Pruning, evaluated: Sequence[Sureness] = ()) -> str:
    """What speaks against a pruned answer before anybody has seen the original's, in words; nothing where nothing does.

    margin: of the answer, see `Answer.margin`; side: what was done to the visual tokens. The nearest evaluated budget
    of the same method is quoted, and where there is none, or tokens were told to stay or go, the margin alone counts.
    Another recipe of the same budget is another pruning: that the evaluation is of one is said.
    """
    if margin is None or side.method == ORIGINAL or not side.num_dropped:
        return ""
    lead = f"Unsure: its least sure token leads the next likeliest by {100 * margin:.0f} points of probability"
    of_method = [] if side.is_painted else [each for each in evaluated if each.method == side.method]
    nearest = min(of_method, key=lambda each: abs(each.reduction - side.reduction), default=None)
    share = None if nearest is None else nearest.near(margin)
    if nearest is None or share is None:
        return f"{lead}." if margin < _UNSURE_MARGIN else ""
    if share.value < UNSURE:
        return ""
    name = title_of(nearest.method, nearest.reduction)
    if nearest.recipe not in ("", side.recipe.counts) and nearest.reduction == side.recipe.reduction:
        name += ", another recipe"
    return f"{lead}. Of {share.asked} answers as sure, {share.right} were not the original's (evaluation, {name})."
