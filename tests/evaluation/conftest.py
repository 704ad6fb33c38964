"""Shared by the tests of evaluation: three samples, recipes, and runs over them."""

from __future__ import annotations

import json

import pytest

from fitprune_core import collect_statistics, fit_recipe
from fitprune_core.evaluation.evaluation import evaluate
from tests.tiny import random_picture


@pytest.fixture(scope="session")
def recipe_for(tiny):
    statistics = collect_statistics(*tiny, [(random_picture(seed=seed), f"Question {seed}?") for seed in range(3)])
    return lambda reduction: fit_recipe(statistics, reduction)


@pytest.fixture
def samples(tmp_path):
    """A samples file of three pictures; the second has no right answer."""
    lines = []
    for number in range(3):
        random_picture(seed=number).save(tmp_path / f"{number}.png")
        lines.append(
            {"id": f"s{number}", "image": f"{number}.png", "question": f"What is {number}?", "answer": "a key"}
        )
    del lines[1]["answer"]
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


@pytest.fixture
def run(tiny, recipe_for, samples, tmp_path):
    """Evaluates the tiny model on the samples, with short answers."""

    def run(reductions=(0.3, 0.6), **options):
        options = {"methods": ("fitprune", "random"), "max_new_tokens": 3} | options
        return evaluate(*tiny, samples, reductions, recipe_for, tmp_path / "out" / "results.csv", **options)

    return run
