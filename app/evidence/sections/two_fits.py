"""8. The fit from statistics beside the authors' own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from app.evidence.bench import Bench, variant
from app.evidence.board import Board, Way
from app.evidence.figures import panels
from app.evidence.fingerprints import OBSERVED, PRUNED, digest_of, room_digest
from app.evidence.numbers import recipe_distance
from app.evidence.questions import CALIBRATION, FEW
from app.evidence.section import Section, Table
from app.evidence.ways import bars_of_right, name_of, tests_against, way_rows
from app.evidence.words import budget, outcomes, percent, sentence
from fitprune_core import PruningRecipe, fit_recipe, fit_recipe_sequential, open_picture
from fitprune_core.checks.files import write_whole
from fitprune_core.samples.files import Sample, read_samples

TITLE = "The fit from statistics beside the sequential one"
QUESTION = (
    "The authors run the pruned model for every trial of the search; does a fit from statistics alone lose anything?"
)
COLUMNS = ("budget", "fit", "alpha", "achieved", "trials", "distance", "removed")
# The fit from statistics by the paper's rule alone, as the sequential one has it; and as this library ships it.
STATISTICS, SHIPPED, SEQUENTIAL = "from statistics", "from statistics, few layers", "sequential"


@dataclass(frozen=True)
class Searched:
    """A sequential recipe, and the alphas that its search tried, in turn."""

    recipe: PruningRecipe
    trials: list[float]


def run(bench: Bench) -> Section:
    """Fit both ways on the same samples, and answer with both."""
    plan, section = bench.plan, Section(TITLE, QUESTION)
    samples = list(islice(read_samples(bench.sets[CALIBRATION].file), plan.sequential_samples))
    statistics = bench.statistics(bench.sets[CALIBRATION]).first(len(samples))
    shipped = bench.recipes(statistics, plan.sequential_budgets)
    ours = [fit_recipe(statistics, recipe.reduction, gather=False) for recipe in shipped]
    theirs = _sequential_fits(bench, samples, [recipe.reduction for recipe in ours])
    rows = []
    for one, few, other in zip(ours, shipped, theirs, strict=True):
        rows += [_row(each, name, "", recipe_distance(each, other.recipe)) for name, each in
                 ((STATISTICS, one), (SHIPPED, few))]  # fmt: skip
        rows.append(_row(other.recipe, SEQUENTIAL, len(other.trials), 0.0))
    section.raw = [bench.write("8-recipes", COLUMNS, rows)]
    variants = [variant("fitprune", recipe, STATISTICS) for recipe in ours]
    variants += [variant("fitprune", recipe, SHIPPED) for recipe in shipped]
    variants += [variant("fitprune", each.recipe, SEQUENTIAL) for each in theirs]
    board = bench.answers("8-answers", bench.sets[FEW], variants)
    section.raw.append(board.path)
    p_values = tests_against(board, SEQUENTIAL)
    distances = {one.reduction: recipe_distance(one, other.recipe) for one, other in zip(ours, theirs, strict=True)}
    section.tables = [_recipes_table(ours, shipped, theirs), _answers_table(board, p_values)]
    section.figures["8-two-fits"] = _figure(board)
    section.answer = answer_of(board, p_values, distances)
    section.counted = "what the recipes save and how far they lie apart"
    section.measured = f"attention over {len(samples)} samples, for the sequential fit anew at every trial, and answers"
    return section


def answer_of(board: Board, p_values: dict[Way, float | None], distances: dict[float, float]) -> str:
    """The sentence: how far apart the recipes are, and whether the answers tell them apart, at every budget."""
    few, many = min(distances.values()), max(distances.values())
    apart = percent(many) if few == many else f"{100 * few:.1f} to {percent(many)}"
    said = [f"the two fits drop {apart} of the tokens at other layers"]
    for name, words in ((SHIPPED, "the fit as shipped"), (STATISTICS, "the paper's rule from statistics")):
        tests = {
            budget(way[1]): (board.against(way, (SEQUENTIAL, way[1])), p_values.get(way))
            for way in board.ways
            if way[0] == name
        }
        if tests:
            said.append(f"{words} against the sequential fit: {outcomes(tests, 'at')}")
    return " ".join(map(sentence, said))


def _sequential_fits(bench: Bench, samples: Sequence[Sample], reductions: Sequence[float]) -> list[Searched]:
    """The authors' fit to each budget; processes share the budgets."""

    def fitted(wanted: Sequence[float]) -> list[Searched]:
        return [_sequential(bench, samples, reduction) for reduction in wanted]

    bench.processes.agree(partial(fitted, [reductions[at] for at in bench.processes.share(len(reductions))]))
    return bench.once(partial(fitted, reductions))


def _sequential(bench: Bench, samples: Sequence[Sample], reduction: float) -> Searched:
    code = room_digest("calibration/sequential.py", *OBSERVED, *PRUNED)
    key = digest_of(bench.sets[CALIBRATION].digest, len(samples), reduction, code)
    path = bench.folder / "sequential" / f"{key}.json"
    if not path.is_file():
        trials: list[float] = []
        bench.progress(f"sequential fit, {budget(reduction)}", 0, 1)
        recipe = fit_recipe_sequential(
            bench.model,
            bench.processor,
            [(open_picture(sample.image), sample.question) for sample in samples],
            reduction,
            progress=lambda trial: trials.append(trial.alpha),
        )
        write_whole(path, json.dumps({"recipe": recipe.to_dict(), "trials": trials}))
        bench.progress(f"sequential fit, {budget(reduction)}", 1, 1)
    known = json.loads(path.read_text(encoding="utf-8"))
    return Searched(PruningRecipe.from_dict(known["recipe"]), known["trials"])


def _row(recipe: PruningRecipe, fit: str, trials: Any, apart: float) -> dict[str, Any]:
    values = (
        recipe.reduction,
        fit,
        recipe.alpha,
        recipe.achieved_reduction,
        trials,
        apart,
        " ".join(map(str, recipe.removed)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _recipes_table(
    ours: Sequence[PruningRecipe], shipped: Sequence[PruningRecipe], theirs: Sequence[Searched]
) -> Table:
    rows = []
    for one, few, other in zip(ours, shipped, theirs, strict=True):
        rows.append([
            budget(one.reduction), f"{one.alpha:.3f}", f"{other.recipe.alpha:.3f}", percent(one.achieved_reduction),
            percent(other.recipe.achieved_reduction), percent(recipe_distance(one, other.recipe)),
            percent(recipe_distance(few, other.recipe)), str(len(other.trials)),
        ])  # fmt: skip
    header = [
        "budget",
        "alpha, statistics",
        "alpha, sequential",
        "saves, statistics",
        "saves, sequential",
        "at another layer",
        "few layers: at another",
    ]
    about = (
        "At another layer: share of the dropped tokens, against the sequential recipe. Few layers: the fit as this "
        "library ships it, in which those layers drop that displace fewest tokens. The sequential search ends when its "
        "interval of alphas is 0.01 wide; every trial runs the pruned model on all samples."
    )
    return Table([*header, "trials"], rows, about)


def _answers_table(board: Board, p_values: dict[Way, float | None]) -> Table:
    rows = way_rows(board, SEQUENTIAL, p_values.get)
    about = f"{board.count} questions, percent with 95 % intervals; the test is corrected over the budgets (Holm)."
    return Table(["fit", "right", "as the original", "against sequential"], rows, about)


def _figure(board: Board):
    figure, (axes,) = panels(["Right answers by either fit"], width=8)
    bars_of_right(axes, board, {way: name_of(way) for way in board.ways})
    return figure
