"""The boxes by which Sweep and Inspect offer methods."""

from __future__ import annotations

import gradio as gr
import pytest

from app.pages.methods import method_fields
from fitprune_core import METHODS


def laid_out(offered, ticked):
    with gr.Blocks():
        return method_fields(offered, ticked, "methods")


def test_every_method_is_offered_once_with_words_beside_its_name():
    fields = laid_out(list(METHODS), ["fitprune", "random"])
    choices = [*fields.first.choices, *fields.others.choices]
    assert sorted(value for _, value in choices) == sorted(METHODS)
    assert all(words.startswith(f"{method}: ") and len(words.split()) > 2 for words, method in choices)
    assert [value for _, value in fields.first.choices] == ["fitprune", "fitprune+", "fastv", "random"]
    assert fields.first.value == ["fitprune", "random"] and fields.others.value == []


def test_what_nobody_typed_behind_more_methods_is_an_empty_text():
    assert laid_out(list(METHODS), []).more.value == ""  # a None would reach handlers while it is closed


@pytest.mark.parametrize("offered", [["fitprune", "random"], ["mine"]])
def test_an_engine_of_few_methods_has_no_empty_group(offered):
    fields = laid_out(offered, ["fitprune"])
    assert [value for _, value in fields.first.choices] == offered and not fields.others.visible
    assert fields.first.value == offered[:1]
