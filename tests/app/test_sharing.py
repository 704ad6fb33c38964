"""The handlers that save and open comparisons, called as plain Python."""

from __future__ import annotations

import base64
import io
import json
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from app.pages.compare import create_compare, create_sharing
from app.pages.compare.keeping import Exports
from fitprune_core.checks.files import EXPORTS
from fitprune_core.report.export import exported, to_entries
from tests.app.fake_engine import GEOMETRY, FakeEngine, make_comparison

VISITOR = SimpleNamespace(session_hash="visitor", client=None)


@pytest.fixture(scope="module")
def sharing():
    with gr.Blocks():
        return create_sharing(create_compare(FakeEngine()))


@pytest.fixture(scope="module")
def found():
    """What a run found, as the page keeps it."""
    image, engine = Image.new("RGB", (120, 90), "green"), FakeEngine()
    comparison = make_comparison(image.size, "What is it?", engine.recipe_for(60), ("a car", "a bus"))
    return to_entries(comparison, image, GEOMETRY)


def saved(sharing, found, **chosen):
    update = sharing.save(SimpleNamespace(_data=chosen), found and Exports(2**30).keep(found))
    return update[sharing.saver], update[sharing.page.parts.notice]


@pytest.mark.slow
@pytest.mark.parametrize("ending", EXPORTS)
def test_every_ending_is_saved_as_the_library_writes_it(sharing, found, ending):
    file, told = saved(sharing, found, ending=ending, layer=3)
    assert base64.b64decode(file.data) == exported(found, ending, 2)
    assert file.name == f"fitprune-comparison{ending}" in told.text and told.kind != "error"
    assert file.kind.partition("/")[0] in ("image", "text", "application")


@pytest.mark.parametrize("chosen", [{}, {"ending": ".exe"}, {"ending": ".png", "layer": 99}, {"ending": ["x"]}])
def test_what_cannot_be_saved_is_told_and_ends_the_waiting(sharing, found, chosen):
    file, told = saved(sharing, found, **chosen)
    assert file.name == "" and told.kind == "error" and "cannot be saved" in told.text


def test_before_a_run_there_is_nothing_to_save(sharing):
    file, told = saved(sharing, None, ending=".png", layer=1)
    assert file.name == "" and "run a comparison first" in told.text


@pytest.mark.slow
def test_a_picture_shows_the_layer_that_was_asked_for(sharing, found):
    first, last = (
        Image.open(io.BytesIO(base64.b64decode(saved(sharing, found, ending=".png", layer=layer)[0].data)))
        for layer in (1, 0)
    )
    assert first.size == last.size and first.convert("RGB").tobytes() != last.convert("RGB").tobytes()


def test_a_saved_comparison_is_shown_again(sharing, found, tmp_path):
    (tmp_path / "c.json").write_bytes(exported(found, ".json"))
    update, parts = sharing.open(str(tmp_path / "c.json"), VISITOR), sharing.page.parts
    assert update[parts.board].pruned.answer == "a bus" and update[parts.question] == "What is it?"
    assert update[parts.board].origin == "A saved comparison" and "upload the picture" in update[parts.notice].text
    assert update[parts.found].entries() == json.loads(json.dumps(found))


def test_what_is_no_comparison_is_told(sharing, tmp_path):
    (tmp_path / "c.json").write_text("{}")
    update = sharing.open(str(tmp_path / "c.json"), VISITOR)
    assert (
        list(update) == [sharing.page.parts.notice]
        and "no exported comparison" in update[sharing.page.parts.notice].text
    )
