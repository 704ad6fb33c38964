"""Shared by the tests of the evidence."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from app.evidence.bench import Bench
from app.evidence.plan import QUICK
from tests.tiny import random_picture

# As few answers as every section can be made of.
SMALLEST = replace(
    QUICK, calibration=3, choice=3, test=4, few=3, easy_vqa=3, search_budgets=(0.2, 0.5, 0.8), max_new_tokens=2
)


# Every second one, and as many again to calibrate on.
SIX_SHAPES = ("circle", "square", "rectangle", "circle", "triangle", "square")


@pytest.fixture
def easy_vqa_package(tmp_path, monkeypatch):
    """The package easy-vqa with six pictures in place of its thousands."""
    put_easy_vqa(tmp_path, monkeypatch, SIX_SHAPES)


def put_easy_vqa(folder, patch, shapes=("circle", "rectangle", "triangle")) -> None:
    package, paths, questions = ModuleType("easy_vqa"), {}, []
    for number, shape in enumerate(shapes):
        paths[number] = folder / f"easy-{number}.png"
        random_picture(seed=100 + number).save(paths[number])
        questions += [("what shape is in the image?", shape, number), ("is there a circle?", "no", number)]
    package.get_test_image_paths = lambda: paths
    package.get_test_questions = lambda: tuple(zip(*questions, strict=True))
    patch.setitem(sys.modules, "easy_vqa", package)


@pytest.fixture
def make_bench(tiny, tmp_path):
    """Makes a bench of the tiny random model, which answers questions about the drawn world with what comes."""

    def make(plan=SMALLEST, model=tiny, **options) -> Bench:
        return Bench(*model, plan, tmp_path / "out", tmp_path / "cache", **options)

    return make
