"""What it saves that a batch's pictures are seen once for all ways to answer, as `evaluate` has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from transformers import BatchFeature

from app.demo_model.samples import drawn_samples
from fitprune_core.models.devices import describe_device
from fitprune_core.models.loading import MINI_LLAVA, load_model
from fitprune_core.pruning.methods import METHODS, find_method
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import UNPRUNED, Way, answer, prepare
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.seen import Seen
from tests.benchmarks.batches import SEED
from tests.benchmarks.report import Report

REDUCTIONS = (0.6, 0.8)
PROMPTS, BATCH = 32, 8


def run(rounds: int = 5) -> Report:
    """Answer the same prompts by every method, seen once or for each; `rounds` of both in turns count, after one that
    does not.
    """
    model, processor = load_model(MINI_LLAVA)
    samples = drawn_samples(PROMPTS, SEED)
    prompts = [prepare(model, processor, scene.draw(), question.text) for scene, question in samples]
    rows: list[Sequence[str]] = [("every method, and the original", "seen for each", "seen once", "time saved")]
    equal = True
    for reduction in REDUCTIONS:
        recipe = PruningRecipe.load(RECIPES / MINI_LLAVA / f"{100 * reduction:.0f}.json")
        ways = [UNPRUNED, *(Way(recipe, find_method(name)) for name in METHODS)]
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for number in range(rounds + 1):
            answers = {}
            for once in (False, True) if number % 2 == 0 else (True, False):
                started = time.perf_counter()
                answers[once] = _answers(model, processor, prompts, ways, once)
                if number:
                    seconds[once].append(time.perf_counter() - started)
            equal = equal and answers[False] == answers[True]
        saved = [1 - once / each for each, once in zip(seconds[False], seconds[True], strict=True)]
        rows.append((
            f"at {reduction:.0%}", f"{median(seconds[False]):.1f} s", f"{median(seconds[True]):.1f} s",
            f"{median(saved):.1%} ({min(saved):.1%} to {max(saved):.1%})",
        ))  # fmt: skip
    report = Report("Several ways to answer a batch", [rows])
    report.notes.append(
        f"mini-llava ({describe_device(model)}), {PROMPTS} held-out questions of all kinds, {BATCH} at once, whole "
        f"answers in {len(METHODS) + 1} ways; medians of {rounds} rounds in turns, their extremes in brackets. The "
        f"answers are {'the same' if equal else 'NOT the same'}, token by token."
    )
    return report


def _answers(
    model, processor, prompts: Sequence[BatchFeature], ways: Sequence[Way], once: bool
) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for at in range(0, len(prompts), BATCH):
        seen = Seen() if once else None
        for way in ways:
            answers = answer(model, processor, prompts[at : at + BATCH], way, Decoding(64), seen=seen)
            found += [each.token_ids for each in answers]
    return found
