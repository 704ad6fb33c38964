"""mini-llava on ten held-out scenes: prefill and decoding, as it is and at 60 % fewer visual FLOPs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from app.demo_model.questions import questions_about
from app.demo_model.scenes import random_scene
from fitprune_core.models.devices import describe_device
from fitprune_core.models.loading import MINI_LLAVA, load_model
from fitprune_core.models.prompts import build_inputs
from fitprune_core.pruning.context import prune_visual_tokens
from fitprune_core.recipes.fit import fit_recipe
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.statistics import AttentionStatistics
from fitprune_core.recipes.store import STATISTICS
from fitprune_core.run.comparison import Comparison, Run, compare
from fitprune_core.run.timing import Clock, Side, medians, paired_rounds
from tests.benchmarks.published_way import check_same_tokens, published_way, score_memory
from tests.benchmarks.report import Report

FIRST_SEED = 2_000_000_000  # far from every seed that training draws
SCENES = 10
REDUCTION = 0.6
# None: as many layers drop as the fit thinks worth it.
MOST_DROP_LAYERS = (None, 2)
WARMUP = 2
FIRST_TOKEN = (0,)  # an answer of one token: nothing but the prefill
HEADER = (
    "dropping at", "prefill, original", "prefill, pruned", "FLOPs saved", "time saved", "time/FLOPs",
    "per token, original", "per token, pruned", "same answer",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Medians over scenes; milliseconds, and shares of the whole prefill: vision tower, projector and decoder."""

    prefill_ms: tuple[float, float]
    per_token_ms: tuple[float, float]
    flops_saved: float
    time_saved: float
    agreeing: int

    def row(self, label: str) -> tuple[str, ...]:
        """One line of the table."""
        prefill, per_token = ([f"{value:.2f} ms" for value in pair] for pair in (self.prefill_ms, self.per_token_ms))
        saved = (f"{self.flops_saved:.1%}", f"{self.time_saved:.1%}", f"{self.time_saved / self.flops_saved:.2f}")
        return (label, *prefill, *saved, *per_token, f"{self.agreeing} of {SCENES}")


def run(rounds: int = 9) -> Report:
    """Compare ten times for each recipe; of each comparison `rounds` paired runs count, or as many as fit."""
    model, processor = load_model(MINI_LLAVA)
    statistics = AttentionStatistics.load(RECIPES / MINI_LLAVA / STATISTICS)
    report = Report(f"mini-llava at {REDUCTION:.0%} fewer visual FLOPs", tables=[[HEADER]])
    for most in MOST_DROP_LAYERS:
        recipe = fit_recipe(statistics, REDUCTION, max_drop_layers=most)
        layers = sum(count > 0 for count in recipe.removed)
        comparisons = [
            compare(model, processor, picture, question, recipe, warmup=WARMUP, repeats=rounds)
            for picture, question in _requests()
        ]
        outcome = _outcome(comparisons)
        report.tables[0].append(outcome.row(f"{layers} of {recipe.num_layers} layers"))
        report.savings[f"mini-llava,\n{layers} layers drop"] = (outcome.flops_saved, outcome.time_saved)
    report.notes.append(
        f"Medians of {SCENES} held-out scenes with a question each ({describe_device(model)}); the time of each scene "
        f"is the {comparisons[-1].timing} FLOPs saved: of the "
        "whole prefill with vision tower, projector and text, before what scoring costs; time saved: of the same, "
        "scoring and dropping included."
    )
    _against_published(model, processor, rounds, report)
    return report


def _against_published(model, processor, rounds: int, report: Report) -> None:
    """Time one prompt as it is, pruned, and pruned the published way, in turns; and the memory of scores."""
    inputs = build_inputs(processor, *next(_requests()))
    recipe = PruningRecipe.load(RECIPES / MINI_LLAVA / f"{100 * REDUCTION:.0f}.json")
    sides = [
        Side(nullcontext, FIRST_TOKEN),
        Side(partial(prune_visual_tokens, model, recipe), FIRST_TOKEN),
        Side(partial(published_way, model, recipe), FIRST_TOKEN),
    ]
    with torch.no_grad():
        check_same_tokens(model, inputs, recipe)
        times = medians(paired_rounds(model, inputs, sides, Clock(model.device), warmup=WARMUP, repeats=3 * rounds))
        ours, published = score_memory(model, inputs, recipe)
    original, pruned_ms, published_ms = (time.prefill_ms for time in times)
    report.tables.append([
        ("prefill of one scene", "time", "peak memory of scores"),
        ("original, SDPA", f"{original:.2f} ms", ""),
        ("pruned", f"{pruned_ms:.2f} ms", f"{ours / 1e6:.2f} MB"),
        ("pruned the published way", f"{published_ms:.2f} ms", f"{published / 1e6:.2f} MB"),
    ])  # fmt: skip
    report.notes.append(
        f"The published way (eager attention everywhere, its matrices kept) takes {published_ms / pruned_ms:.2f} times "
        f"as long as this one and {published / ours:.1f} times the memory for scores, at the same recipe, keeping the "
        f"same tokens; medians of {3 * rounds} rounds in turns."
    )


def _requests():
    """A picture and a question for each scene, of another kind from scene to scene."""
    for number in range(SCENES):
        scene = random_scene(FIRST_SEED + number)
        questions = questions_about(scene, FIRST_SEED)
        yield scene.draw(), questions[number % len(questions)].text


def _outcome(comparisons: list[Comparison]) -> Outcome:
    def medians(figure) -> tuple[float, float]:
        return tuple(median(figure(getattr(c, side)) for c in comparisons) for side in ("original", "pruned"))

    return Outcome(
        prefill_ms=medians(lambda side: side.prefill_ms),
        per_token_ms=medians(lambda side: side.per_token_ms),
        flops_saved=median(1 - _prefill_flops(c.pruned) / _prefill_flops(c.original) for c in comparisons),
        time_saved=median(1 - c.pruned.prefill_ms / c.original.prefill_ms for c in comparisons),
        agreeing=sum(c.agree for c in comparisons),
    )


def _prefill_flops(side: Run) -> int:
    return side.flops.vision_tower + side.flops.projector + side.flops.prefill


def main() -> None:
    """Print the table."""
    print(run().markdown())


if __name__ == "__main__":
    main()
