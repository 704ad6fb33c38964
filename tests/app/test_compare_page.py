"""The page's handlers, called as plain Python."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

from app.interface import build_demo
from app.pages.compare import ComparePage, create_compare
from app.uploads import Upload
from tests.app.fake_engine import FakeEngine

VISITOR = SimpleNamespace(session_hash="visitor")


@pytest.fixture()
def page():
    import gradio as gr

    with gr.Blocks():
        return create_compare(FakeEngine(("a red car", "a blue car")))


@pytest.fixture()
def picture(tmp_path):
    Image.new("RGB", (96, 96), "red").save(tmp_path / "scene.png")
    return Upload("scene.png", tmp_path / "scene.png")


def results(page: ComparePage, picture, question="What is it?", percent=60, shown=None):
    from app.presentation import idle_board

    shown = shown or idle_board(60).model_dump()
    return list(page.run(picture, question, percent, None, shown, VISITOR))


def test_a_run_streams_and_ends_with_board_and_trace(page, picture):
    updates = results(page, picture)
    boards = [update[page.parts.board] for update in updates]
    assert [board.state for board in boards][0] == "running" and boards[-1].state == "done"
    assert boards[-1].verdict == "different"
    assert page.parts.scrubber in updates[-1]
    assert all(page.parts.scrubber not in update for update in updates[:-1])
    assert updates[-1][page.parts.shown] == boards[-1].model_dump()


@pytest.mark.parametrize(("question", "percent"), [("", 60), ("x" * 100_000, 60), ("What?", 95), ("What?", None)])
def test_bad_input_is_told_and_the_result_from_before_stays(page, picture, question, percent):
    before = results(page, picture)[-1][page.parts.shown]
    updates = results(page, picture, question, percent, shown=before)
    assert len(updates) == 1
    assert updates[0][page.parts.notice].kind == "error"
    assert updates[0][page.parts.board].model_dump() == before
    assert page.parts.scrubber not in updates[0]


def test_no_picture_is_told(page):
    assert "no picture" in results(page, None)[-1][page.parts.notice].text


@pytest.mark.parametrize("error", [MemoryError("out of memory"), RuntimeError("the device is gone")])
def test_a_model_that_fails_midway_is_told_and_the_next_run_works(page, picture, error):
    before = results(page, picture)[-1][page.parts.shown]
    page.engine.error = error
    last = results(page, picture, shown=before)[-1]
    assert last[page.parts.notice].kind == "error"
    assert str(error)[1:] in last[page.parts.notice].text
    assert last[page.parts.board].model_dump() == before
    page.engine.error = None
    assert results(page, picture)[-1][page.parts.board].state == "done"


def test_stop_ends_a_run_and_brings_back_what_was_shown(page, picture):
    before = results(page, picture)[-1][page.parts.shown]
    run = page.run(picture, "What is it?", 60, None, before, VISITOR)
    assert next(run)[page.parts.board].state == "running"
    stopped = page.stop(before, VISITOR)
    assert stopped[page.parts.notice].text == "Stopped."
    last = list(run)[-1]
    assert last[page.parts.board].model_dump() == before
    assert page.parts.scrubber not in last


def test_one_visitor_cannot_stop_another(page, picture):
    from app.presentation import idle_board

    shown = idle_board(60).model_dump()
    run = page.run(picture, "What is it?", 60, None, shown, VISITOR)
    next(run)
    page.stop(shown, SimpleNamespace(session_hash="somebody else"))
    assert list(run)[-1][page.parts.board].state == "done"


def test_helpers_of_the_page_are_private():
    config = build_demo(FakeEngine()).config
    public = [entry["api_name"] for entry in config["dependencies"] if entry["api_visibility"] == "public"]
    assert public == ["compare"]


def test_moving_the_slider_asks_no_server():
    config = build_demo(FakeEngine()).config
    slider = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "budget")
    moves = [entry for entry in config["dependencies"] if [slider, "change"] in map(list, entry["targets"])]
    assert moves and not any(entry["backend_fn"] for entry in moves)
    budget = next(part for part in config["components"] if part["props"].get("elem_id") == "preview")
    assert len(budget["props"]["value"]["tokens"]) == 91


def test_templates_hold_no_text_of_visitors():
    config = build_demo(FakeEngine()).config
    for part in config["components"]:
        template = part["props"].get("html_template", "")
        assert "{{" not in template and "${" not in template
