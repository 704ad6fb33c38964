"""The handlers of the history, called as plain Python: what goes to a browser, and what comes back from one."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from app.asking.scenes import link_of
from app.door.uploads import Upload
from app.pages.compare import create_compare
from app.pages.compare.history import create_history
from app.pages.compare.keeping import Exports
from app.pages.compare.showing import key_of
from fitprune_core.report.export import to_entries
from tests.app.fake_engine import GEOMETRY, FakeEngine, make_comparison

VISITOR = SimpleNamespace(session_hash="visitor", client=None)


@pytest.fixture(scope="module")
def history():
    with gr.Blocks():
        return create_history(create_compare(FakeEngine()))


@pytest.fixture(scope="module")
def comparison():
    return make_comparison((120, 90), "What is it?", FakeEngine().recipe_for(60), ("a car", "a bus"))


@pytest.fixture(scope="module")
def found(comparison):
    return to_entries(comparison, Image.new("RGB", (120, 90), "green"), GEOMETRY)


def reopen(history, text, link="", picture="", current=None):
    return history.reopen(SimpleNamespace(_data={"text": text, "link": link, "picture": picture}), current, VISITOR)


def test_what_is_shown_goes_to_the_browser_with_its_link_and_picture(history, found):
    sent = history.remember(
        Exports(2**30).keep(found), {"link": "example=1", "picture": "x/y.png", "origin": "Made beforehand"}
    )[history.history]
    assert json.loads(sent.text) == json.loads(json.dumps(found)) and (sent.link, sent.picture) == (
        "example=1",
        "x/y.png",
    )
    assert sent.origin == "Made beforehand"
    assert history.remember(None, {}) == {history.history: gr.skip()}


def test_it_is_shown_again_as_it_was(history, found, comparison):
    update, parts = reopen(history, json.dumps(found)), history.page.parts
    board = update[parts.board]
    assert (board.original.answer, board.pruned.answer, board.percent) == ("a car", "a bus", 60)
    assert update[parts.question] == "What is it?" and update[parts.shown] == board.model_dump()
    assert update[parts.found].entries() == json.loads(json.dumps(found))
    assert update[parts.picture] is None and update[parts.seed] is None and board.link == board.picture == ""
    assert "upload the picture" in update[parts.notice].text
    assert comparison.device in update[parts.notice].text and history.page.engine.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 2, None])
def test_an_example_or_scene_comes_with_its_picture_truth_and_link(history, found, index):
    examples, parts = history.page.examples, history.page.parts
    seed = 2**40 + 5 if index is None else examples[index].seed
    link = link_of(examples, seed, "What is it?", 60)
    update = reopen(history, json.dumps(found), link, "hash/image.webp")
    assert update[parts.seed] == seed and update[parts.board].link == link
    if index is None:
        assert isinstance(update[parts.picture], Image.Image) and update[parts.board].picture == "hash/image.webp"
    else:
        name = examples[index].picture.name
        assert update[parts.picture].endswith(name) and update[parts.board].picture.endswith(f"/{name}")


@pytest.mark.slow
def test_what_was_painted_has_no_link_and_of_an_example_its_picture(history, comparison):
    image, parts, example = Image.new("RGB", (120, 90), "green"), history.page.parts, history.page.examples[0]
    for painted in (
        replace(comparison, stay=(1, 2)),
        replace(comparison, method="original", against=replace(comparison, go=(3,))),
    ):
        update = reopen(history, json.dumps(to_entries(painted, image, GEOMETRY)), picture=key_of(example.picture))
        board = update[parts.board]
        assert board.link == "" and board.picture == key_of(example.picture)
        assert update[parts.picture].endswith(example.picture.name) and update[parts.seed] == example.seed
        assert any(card.name.endswith(", painted") for card in (board.original, board.pruned))


@pytest.mark.slow
def test_what_another_recipe_did_has_no_link(history, comparison):
    image, parts, example = Image.new("RGB", (120, 90), "green"), history.page.parts, history.page.examples[0]
    mine = replace(comparison, recipe=FakeEngine().recipe_for(40))
    for found in (mine, replace(comparison, against=mine)):
        update = reopen(history, json.dumps(to_entries(found, image, GEOMETRY)), picture=key_of(example.picture))
        assert update[parts.board].link == "" and update[parts.seed] == example.seed


def test_what_spoke_against_a_recipe_is_said_again(history, comparison):
    warned = replace(comparison, warnings=("the recipe is another model's",))
    update = reopen(history, json.dumps(to_entries(warned, Image.new("RGB", (120, 90)), GEOMETRY)))
    said = update[history.page.parts.notice]
    assert said.kind == "warning" and "The recipe is another model's. Timing:" in said.text


def test_the_picture_stays_only_where_it_is_the_one_that_was_asked_about(history, found, tmp_path):
    (tmp_path / "folder").mkdir()
    current, parts = Upload("a.png", tmp_path / "folder" / "a.png"), history.page.parts
    same = reopen(history, json.dumps(found), picture="folder/a.png", current=current)
    assert parts.picture not in same and same[parts.board].picture == "folder/a.png"
    for key in ("folder/b.png", ""):
        other = reopen(history, json.dumps(found), picture=key, current=current)
        assert other[parts.picture] is None and other[parts.board].picture == ""


@pytest.mark.parametrize(
    ("text", "link"),
    [("", ""), ("{}", ""), ("[1]", ""), ("{" * 50_000, ""), ("damaged", ""), ("trace", ""), ("sound", "example=99"),
     ("sound", "scene=x")],
)  # fmt: skip
def test_what_a_browser_made_up_is_told_in_a_sentence(history, found, text, link):
    spoiled = json.loads(json.dumps(found))
    if text == "damaged":
        del spoiled["comparison"]["kept"]
    if text == "trace":
        spoiled["trace"]["dropped_after"] = "x"
    sent = json.dumps(spoiled) if text in ("damaged", "trace", "sound") else text
    update, notice = reopen(history, sent, link), history.page.parts.notice
    assert list(update) == [notice] and update[notice].kind == "error" and "\n" not in update[notice].text
    assert update[notice].text.startswith("This comparison cannot be shown again")


def test_nothing_at_all_is_told(history):
    update = history.reopen(SimpleNamespace(_data=None), None, VISITOR)
    assert list(update) == [history.page.parts.notice]


def test_another_models_method_is_shown_with_the_usual_sides(history, comparison, found):
    entries = to_entries(replace(comparison, method="of-somebody-else"), Image.new("RGB", (120, 90)), GEOMETRY)
    update, parts = reopen(history, json.dumps(entries)), history.page.parts
    assert update[parts.sides].right == "fitprune" and update[parts.board].pruned.answer == "a bus"
