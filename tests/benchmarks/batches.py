"""How many samples a second at several batch sizes: mini-llava on scenes, and a decoder of 7B's width."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from transformers import BatchFeature, PreTrainedModel, PreTrainedTokenizerBase

from app.demo_model.samples import drawn_samples
from fitprune_core.models.devices import describe_device
from fitprune_core.models.loading import MINI_LLAVA, load_model
from fitprune_core.pruning.methods import find_method
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.answer import UNPRUNED, Way, prepare
from fitprune_core.run.batch import padded_together
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.generation import generate
from tests.benchmarks.report import Report
from tests.benchmarks.wide_decoder import profile_recipe
from tests.benchmarks.wide_model import LLAVA, wide_inputs, wide_llava
from tests.tiny import tiny_tokenizer

SIZES = (1, 4, 8, 16)
REDUCTION = 0.6
SEED = 7  # recipes were fitted on seed 0
# Answers of the wide decoder mean nothing; each has as many tokens as a short one.
WIDE_TOKENS = 8
MINI_PROMPTS, WIDE_PROMPTS = 48, 16


def run(rounds: int = 3) -> Report:
    """Answer the same prompts at every batch size, in turns; `rounds` of them count on mini-llava, one on the other."""
    report = Report("Samples a second in batches", tables=[])
    _mini_llava(rounds, report)
    _wide_decoder(report)
    return report


def _mini_llava(rounds: int, report: Report) -> None:
    model, processor = load_model(MINI_LLAVA)
    samples = drawn_samples(MINI_PROMPTS, SEED)
    prompts = [prepare(model, processor, scene.draw(), question.text) for scene, question in samples]
    recipe = PruningRecipe.load(RECIPES / MINI_LLAVA / f"{100 * REDUCTION:.0f}.json")
    ways = {"original": UNPRUNED, "pruned": Way(recipe, find_method("fitprune"))}
    table, equal = _table("mini-llava", model, processor.tokenizer, prompts, ways, Decoding(64), rounds)
    report.tables.append(table)
    report.notes.append(
        f"mini-llava ({describe_device(model)}), {MINI_PROMPTS} held-out questions of all kinds, whole answers; "
        f"medians of {rounds} rounds in which the sizes take turns; pruned: {REDUCTION:.0%} fewer visual FLOPs. {equal}"
    )


def _wide_decoder(report: Report) -> None:
    model = wide_llava()
    model.generation_config.eos_token_id = None
    prompts = [BatchFeature(wide_inputs(LLAVA)) for _ in range(WIDE_PROMPTS)]
    ways = {"original": UNPRUNED, "pruned": Way(profile_recipe(model, LLAVA), find_method("fitprune"))}
    table, equal = _table("7B's width, 2 layers", model, tiny_tokenizer(), prompts, ways, Decoding(WIDE_TOKENS), 1)
    report.tables.append(table)
    report.notes.append(
        f"A decoder of 7B's width, two layers, random weights ({describe_device(model)}): {WIDE_PROMPTS} prompts with "
        f"{LLAVA.num_visual_tokens} visual tokens and answers of {WIDE_TOKENS} tokens, one round. {equal}"
    )


def _table(
    title: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[BatchFeature],
    ways: dict[str, Way],
    decoding: Decoding,
    rounds: int,
) -> tuple[list[Sequence[str]], str]:
    """Rows of samples a second, a column for each way; and in words whether all sizes gave the same answers."""
    seconds: dict[tuple[str, int], list[float]] = {}
    answers: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    for number in range(rounds):
        for size in SIZES if number % 2 == 0 else reversed(SIZES):
            for name, way in ways.items():
                spent, answers[name, size] = _timed(
                    lambda size=size, way=way: _answers(model, tokenizer, prompts, way, size, decoding)
                )
                seconds.setdefault((name, size), []).append(spent)
    rows: list[Sequence[str]] = [(title, *(f"{name}, samples/s" for name in ways))]
    for size in SIZES:
        rows.append((f"{size} at once", *(f"{len(prompts) / median(seconds[name, size]):.2f}" for name in ways)))
    other = sum(
        ours != theirs
        for name in ways
        for size in SIZES[1:]
        for ours, theirs in zip(answers[name, size], answers[name, 1], strict=True)
    )
    total = len(ways) * len(SIZES[1:]) * len(prompts)
    return rows, f"{total - other} of {total} answers in batches are those of one at a time, token by token."


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[BatchFeature],
    way: Way,
    size: int,
    decoding: Decoding,
) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for at in range(0, len(prompts), size):
        inputs = padded_together(prompts[at : at + size], tokenizer).to(model.device)
        with torch.no_grad(), way.applied_to(model):
            found += generate(model, tokenizer, inputs, decoding).token_ids
    return found


def _timed(work: Callable[[], list[tuple[int, ...]]]) -> tuple[float, list[tuple[int, ...]]]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    """Print the tables."""
    print(run().markdown())


if __name__ == "__main__":
    main()
