"""What a fit from statistics costs, cold and for each further budget, and how exactly recipes meet their budgets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from statistics import median

import numpy as np
import torch

from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.models.loading import MINI_LLAVA
from fitprune_core.recipes.fit import Fitter
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.statistics import AttentionStatistics
from fitprune_core.recipes.store import recipe_source
from fitprune_core.run.timing import Clock
from tests.benchmarks.report import Report

# Samples, visual tokens and decoder: mini-llava's sizes, and those of LLaVA-1.5-7B with the paper's 655 samples.
SIZES = {
    "64 samples, 12 layers, 256 tokens": (64, 256, DecoderGeometry(12, 160, 448, 160, 160, 1000)),
    "655 samples, 32 layers, 576 tokens": (655, 576, DecoderGeometry(32, 4096, 11008, 4096, 4096, 32064)),
}
PERCENTS = range(1, 91)
# Further budgets that are timed, spread over the whole range and in no order, as a slider asks for them.
BUDGETS = 12


def run(rounds: int = 3) -> Report:
    """Time both sizes, the cold fit `rounds` times, and count the errors of mini-llava's recipes."""
    header = ("statistics", "cold: sorting and one budget", "a further budget", "the slowest of them")
    report = Report("Fitting recipes from statistics", tables=[[header]])
    for label, (samples, tokens, geometry) in SIZES.items():
        statistics = synthetic_statistics(samples, tokens, geometry)
        cold, further = fitting_times(statistics, rounds)
        figures = (median(cold), median(further), max(further))
        report.tables[0].append((label, *(f"{1e3 * seconds:.1f} ms" for seconds in figures)))
    report.notes.append(
        f"Synthetic statistics from a seed. Cold: median of {rounds}, a new fitter and its first budget. Further: "
        f"{BUDGETS} other budgets, none asked before, of a fitter that has sorted."
    )
    report.budget_errors = budget_errors()
    worst = max(report.budget_errors, key=lambda percent: abs(report.budget_errors[percent]))
    report.notes.append(
        f"mini-llava's recipes for every whole percent from {PERCENTS[0]} to {PERCENTS[-1]}: the largest distance "
        f"between budget asked and met is {abs(report.budget_errors[worst]):.3f} percentage points, at {worst} %."
    )
    return report


def synthetic_statistics(samples: int, tokens: int, geometry: DecoderGeometry) -> AttentionStatistics:
    """Attention with a long tail, as real attention has, that sharpens with depth; (samples, layers, tokens)."""
    rng = np.random.default_rng(0)
    shape = (samples, geometry.num_layers, tokens)
    spread = np.linspace(0.8, 2.0, geometry.num_layers, dtype=np.float32)[:, None]
    received = [np.exp(spread * rng.standard_normal(shape, dtype=np.float32)) / tokens for _ in range(2)]
    shares = [rng.uniform(0.1, 0.6, shape[:2]).astype(np.float32) for _ in range(2)]
    return AttentionStatistics(*received, "synthetic", geometry, *shares)


def fitting_times(statistics: AttentionStatistics, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of cold fits of one budget, and of further budgets on a fitter that is warm."""
    clock = Clock(torch.device("cpu"))
    cold = []
    for _ in range(rounds):
        started = clock.now()
        fitter = Fitter(statistics)
        fitter.fit(0.6)
        cold.append(clock.now() - started)
    percents = random.Random(0).sample(sorted(set(PERCENTS) - {60}), BUDGETS)
    return cold, list(_durations(clock, fitter.fit, (percent / 100 for percent in percents)))


def budget_errors() -> dict[int, float]:
    """Percent asked to what mini-llava's recipe saves beyond that, in percentage points, counted anew."""
    statistics = AttentionStatistics.load(RECIPES / MINI_LLAVA / "statistics.npz")
    tokens = statistics.self_attention.shape[-1]
    recipe_for = recipe_source(MINI_LLAVA, statistics.geometry)
    recipes = {percent: recipe_for(percent / 100) for percent in PERCENTS}
    return {
        percent: 100 * visual_reduction(statistics.geometry, recipe.removed, tokens) - percent
        for percent, recipe in recipes.items()
    }


def _durations(clock: Clock, work: Callable[[float], object], values: Iterable[float]) -> Iterable[float]:
    for value in values:
        started = clock.now()
        work(value)
        yield clock.now() - started


def main() -> None:
    """Print the table."""
    print(run().markdown())


if __name__ == "__main__":
    main()
