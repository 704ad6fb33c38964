"""4. How many samples a recipe needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.evidence.bench import Bench, Variant, read_rows, variant
from app.evidence.board import Board, corrected
from app.evidence.figures import curves, panels
from app.evidence.numbers import Estimate, mean_share, recipe_distance
from app.evidence.plan import FURTHER_CALIBRATION_SEEDS, KEY_BUDGET
from app.evidence.questions import CHOICE
from app.evidence.section import Section, Table
from app.evidence.words import budget, estimate_cell, listed, percent, sentence
from fitprune_core import AttentionStatistics, PruningRecipe, fit_recipe
from fitprune_core.evaluation.significance import SIGNIFICANT

TITLE = "How many calibration samples"
QUESTION = "How far do recipes from a few samples lie from one of many, and does it show in the answers?"
COLUMNS = ("fit", "size", "seed", "budget", "distance", "removed")
# The paper's rule at every layer; and the fit as this library ships it, which lets little drops wait.
PLAIN, SHIPPED = "the paper's rule", "as shipped"
# Mean distances by fit, size and budget.
Distances = dict[tuple[str, int, float], Estimate]


@dataclass(frozen=True)
class Fit:
    """A recipe from the first `size` samples of a seed."""

    fit: str
    size: int
    seed: int
    recipe: PruningRecipe


def run(bench: Bench) -> Section:
    """Fit from 8 to many samples of five seeds each; answer with some of the recipes."""
    sets = zip(FURTHER_CALIBRATION_SEEDS, bench.further_calibrations(), strict=True)
    return section_of(bench, {seed: bench.statistics(each) for seed, each in sets})


def section_of(bench: Bench, by_seed: dict[int, AttentionStatistics]) -> Section:
    """The section from statistics of one set a seed."""
    plan = bench.plan
    fits = [
        Fit(fit, size, seed, recipe)
        for size in plan.calibration_sizes
        for seed, statistics in by_seed.items()
        for fit, recipe in _both(bench, statistics.first(size))
    ]
    rows = [
        {"fit": fit.fit, "size": fit.size, "seed": fit.seed, "budget": fit.recipe.reduction,
         "distance": distance_to_others(fit, fits), "removed": " ".join(map(str, fit.recipe.removed))}
        for fit in fits
    ]  # fmt: skip
    path = bench.write("4-distances", COLUMNS, rows)
    variants: list[Variant] = [
        variant("fitprune", fit.recipe, f"{fit.size} samples of seed {fit.seed}")
        for fit in fits
        if fit.fit == SHIPPED and fit.size in plan.answered_sizes and fit.recipe.reduction == KEY_BUDGET
    ]
    board = bench.answers("4-sizes", bench.sets[CHOICE], variants)
    section = Section(TITLE, QUESTION, raw=[path, board.path])
    distances, right = distances_of(list(read_rows(path))), right_of(board, plan.answered_sizes)
    section.tables = [_table(distances, right, plan.section_budgets, len(by_seed))]
    section.figures["4-calibration"] = _figure(distances, plan.section_budgets)
    section.answer = answer_of(distances, right, apart_of(board, tuple(by_seed), plan.answered_sizes))
    section.counted = "the distances"
    section.measured = f"attention over the samples, and answers to the {board.count} questions to choose by"
    section.quoted = "the authors used 655 samples, and found 65 about as good (arXiv 2409.10197)"
    return section


def _both(bench: Bench, statistics: AttentionStatistics) -> Iterator[tuple[str, PruningRecipe]]:
    for recipe in bench.recipes(statistics, bench.plan.section_budgets):
        yield PLAIN, fit_recipe(statistics, recipe.reduction, gather=False)
        yield SHIPPED, recipe


def distance_to_others(fit: Fit, fits: Sequence[Fit]) -> float:
    """The mean distance of a recipe to those of the other seeds, of the same fit and budget, from the most samples."""
    most = max(each.size for each in fits)
    others = [
        each.recipe
        for each in fits
        if (each.fit, each.size, each.recipe.reduction) == (fit.fit, most, fit.recipe.reduction)
        and each.seed != fit.seed
    ]
    return sum(recipe_distance(fit.recipe, other) for other in others) / len(others)


def distances_of(rows: Sequence[dict[str, str]]) -> Distances:
    """The mean distance over the seeds, and its interval, by fit, size and budget; rows as in the raw table."""
    found: dict[tuple[str, int, float], list[float]] = {}
    for row in rows:
        key = row["fit"], int(row["size"]), float(row["budget"])
        found.setdefault(key, []).append(float(row["distance"]))
    return {key: mean_share(values) for key, values in found.items()}


def right_of(board: Board, sizes: Sequence[int]) -> dict[int, Estimate]:
    """The mean share right over the seeds, and its interval, by size."""
    found = {}
    for size in sizes:
        shares = [board.right(way) for way in board.ways if way[0].startswith(f"{size} samples ")]
        if values := [share.value for share in shares if share is not None]:
            found[size] = mean_share(values)
    return found


def apart_of(board: Board, seeds: Sequence[int], sizes: Sequence[int], at: float = KEY_BUDGET) -> list[bool]:
    """For each seed whether the answers by its fewest and by its most samples differ beyond chance: McNemar's test over
    the questions, corrected together."""
    few, many = min(sizes), max(sizes)
    p_values = corrected(
        {
            seed: board.against((f"{few} samples of seed {seed}", at), (f"{many} samples of seed {seed}", at))
            for seed in seeds
        }
    )
    return [p < SIGNIFICANT for p in p_values.values() if p is not None]


def answer_of(
    distances: Distances, right: dict[int, Estimate], apart: Sequence[bool] = (), at: float = KEY_BUDGET
) -> str:
    """The sentence: the distances at the smallest and the largest size, and whether the answers tell them apart.

    apart: as `apart_of` finds it.
    """
    sizes = sorted({size for _, size, each in distances if each == at})
    few, most = sizes[0], sizes[-1]
    moved = [
        f"{percent(distances[fit, few, at].value)} of what it drops {words}"
        for fit, words in ((SHIPPED, "as shipped"), (PLAIN, "by the paper's rule"))
        if (fit, few, at) in distances
    ]
    words = (
        f"at {budget(at)} a recipe from {few} samples drops elsewhere than those from {most:,} samples of other seeds "
        f"do: {listed(moved)}"
    )
    if len(right) > 1 and apart:
        first, last = min(right), max(right)
        words += (
            f". Recipes as shipped get {percent(right[first].value)} right from {first} samples and "
            f"{percent(right[last].value)} from {last:,}, mean of {len(apart)} seeds; with {sum(apart)} of them that "
            "is a difference beyond chance"
        )
    return sentence(words)


def _table(distances: Distances, right: dict[int, Estimate], budgets: Sequence[float], seeds: int) -> Table:
    columns = [(fit, each) for each in budgets for fit in (PLAIN, SHIPPED)]
    columns = [column for column in columns if any((fit, each) == column for fit, _, each in distances)]
    rows = [
        [
            str(size),
            *(estimate_cell(distances.get((fit, size, each)), 1, 100) for fit, each in columns),
            estimate_cell(right.get(size), 1, 100),
        ]
        for size in sorted({size for _, size, _ in distances})
    ]
    about = (
        f"Distance to the recipes from {max(size for _, size, _ in distances)} samples of the other {seeds - 1} seeds: "
        f"percent of the dropped tokens that lie at another layer, mean; and the mean of {seeds} seeds, with a t "
        "interval over the seeds. As shipped, few layers drop, and what others would drop goes there, so that recipes "
        f"jump. Right: percent, at {budget(KEY_BUDGET)}, as shipped, likewise; how the questions were drawn is not in "
        "that interval."
    )
    return Table(["samples", *(f"{fit}, {budget(each)}" for fit, each in columns), "right"], rows, about)


def _figure(distances: Distances, budgets: Sequence[float]):
    figure, found = panels([f"Distance to the other seeds, {fit}" for fit in (PLAIN, SHIPPED)])
    for axes, fit in zip(found, (PLAIN, SHIPPED), strict=True):
        lines = {
            budget(each): [(size, value) for (of, size, at), value in distances.items() if (of, at) == (fit, each)]
            for each in budgets
        }
        curves(axes, lines)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("calibration samples")
        axes.set_ylabel("% of dropped tokens at another layer")
    return figure
