"""What every family keeps, from its folder to its figures. `python -m tests.families_table` makes a table of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from fitprune_core import load_model, visual_layout
from fitprune_core.models.family import all_families, family_of
from tests.coordinates import box_errors
from tests.families.checks import (
    asked,
    check_command_line,
    check_decoding,
    check_flops,
    check_looking,
    check_prefill,
    check_seen_once,
    visual,
)
from tests.families.every import CASES
from tests.marks import slow
from tests.tiny import random_picture

# Shapes of one view and of several, wide, tall and narrow; small and large pictures.
SIZES = [
    (50, 30), (31, 97),
    *slow((24, 24), (30, 50), (100, 31), (72, 72), (640, 480), (333, 500), (300, 40), (70, 200)),
]  # fmt: skip
METHODS = ["fitprune", *slow("cross-only", "random")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of a case, written when it is first wanted."""
    root = tmp_path_factory.mktemp("every")

    @cache
    def folder_of(case):
        folder = root / f"{CASES.index(case)}" / "tiny"
        case.write(folder)
        return folder

    return folder_of


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def models(folders):
    """A case's model and processor, which no test here changes."""
    return cache(lambda case: load_model(folders(case), device="cpu"))


@pytest.fixture
def loaded(models, case):
    model, processor = models(case)
    assert family_of(model).name == case.family
    return model, processor


def test_none_is_missing():
    assert {case.family for case in CASES} == {family.name for family in all_families()}


@pytest.mark.slow
def test_looking_at_a_token(loaded):
    check_looking(*loaded)


def test_prefill(loaded):
    model, processor = loaded
    check_prefill(model, asked(processor, (200, 130)))


@pytest.mark.parametrize("method", METHODS)
def test_decoding(loaded, method):
    model, processor = loaded
    check_decoding(model, asked(processor, (200, 130)), method)


def test_seen_once(loaded, monkeypatch):
    check_seen_once(*loaded, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(50, 30), (31, 97)])
def test_flops(loaded, size):
    check_flops(*loaded, size)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_boxes(loaded, case, size):
    model, processor = loaded
    layout = visual_layout(model.config, processor, size)
    assert layout.num_tokens == len(layout.views) == visual(model, asked(processor, size)).sum()

    def colours(picture) -> np.ndarray:
        return case.sees(model, processor, picture)

    seen = colours(random_picture(*size))
    assert len(seen) == layout.num_tokens
    assert [view == "newline" for view in layout.views] == (seen == -1).all(axis=1).tolist()
    for view in {"grid", "base", "tile"} & set(layout.views):
        errors = box_errors(layout, view, colours, samples=8)
        assert errors and max(errors) < 0.15
    assert {"grid", "base"} & set(layout.views)


@pytest.mark.slow
def test_command_line(folders, case, tmp_path, capsys):
    check_command_line(folders(case), tmp_path, capsys, "Is <image> or [IMG] a word?</s><|im_end|>")
