"""The Inspect page's handlers, called as plain Python: files that come and go, a run that ends, a row for Compare."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from app.asking.evaluated import evaluation_of, find_evaluated
from app.asking.scenes import KnownAnswer
from app.background.runs import Runs
from app.background.shown import outcomes_of
from app.demo_model.crowded import scene_of
from app.demo_model.evaluate import scene_items
from app.pages.inspect import InspectPage
from tests.app.fake_engine import FakeEngine
from tests.browser.pages import write_results

ERRORS = Path(__file__).parents[2] / "assets" / "guide" / "errors.csv"
COMPARE = SimpleNamespace(
    parts=SimpleNamespace(**{name: name for name in ("picture", "question", "seed", "percent", "sides")})
)
REQUEST = SimpleNamespace(session_hash="mine", client=None)
NAMES = ("results", "pruned_log", "notice", "table", "picture", "pictured", "token", "shown", "title", "timer", "stop")


@pytest.fixture
def page(tmp_path):
    """The page of an engine that answers at once, over components that are their names."""
    engine = FakeEngine()
    page = InspectPage(engine, Runs(engine, tmp_path / "runs"))
    page.parts = SimpleNamespace(**{name: name for name in NAMES})
    return page


@pytest.fixture
def results(tmp_path):
    return str(write_results(tmp_path / "answers.csv", ["What is it?", "Where is it?"]))


def asked(page, **more):
    run = page.runs.ask(None, None, 10, [60], ["fitprune"], **more)
    until = time.monotonic() + 30
    while run.is_busy and time.monotonic() < until:
        time.sleep(0.01)
    return run


def test_a_file_says_whose_table_it_is_and_takes_it_away_with_it(page, results):
    opened = page.open_results(results, None, "a run", "mini-llava, 10 scenes")
    assert opened["table"].title == opened["title"] == "answers.csv"
    assert opened["shown"] is None and opened["picture"] is None
    assert not opened["pruned_log"].visible
    gone = page.open_results(None, None, None, "answers.csv")
    assert gone["table"].rows == [] and gone["title"] == ""
    assert "table" not in page.open_results(None, None, "a run", "mini-llava, 10 scenes")  # which came after the file


def test_what_cannot_be_opened_leaves_the_table_and_says_whose_it_is(page, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for before, rest in (("", False), ("answers.csv", True)):
        told = page.open_results(str(tmp_path / "other.csv"), None, None, before)
        assert "table" not in told and told["notice"].kind == "error"
        assert told["notice"].text.endswith("The table is still that of answers.csv.") == rest


def test_the_second_log_is_asked_for_after_the_first(page, tmp_path):
    (tmp_path / "one.jsonl").write_text("{}")
    told = page.open_results(str(tmp_path / "one.jsonl"), None, None, "")
    assert told["pruned_log"].visible and "second field" in told["notice"].text


def test_a_stop_is_heard_before_the_batch_is_over(page, monkeypatch):
    began = threading.Event()

    def evaluate(*_, should_stop, **__):
        began.set()
        while not should_stop():
            time.sleep(0.01)
        time.sleep(0.5)  # the batch

    monkeypatch.setattr(page.engine, "evaluate", evaluate)
    run = page.runs.ask(None, None, 10, [60], ["fitprune"])
    assert began.wait(20)
    going_on = page.look_after(run.token)
    assert going_on["stop"].interactive and going_on["notice"].share == 0
    stopping = page.stop(run.token)
    assert stopping["notice"].text == "Stopping after this batch." and not stopping["stop"].interactive
    assert stopping["timer"].active


def test_a_row_opens_with_the_answer_that_is_right(page):
    run = asked(page)
    outcomes = outcomes_of(run.token, page.runs)
    event = SimpleNamespace(_data={"index": 1, "side": 1})
    row, filled = outcomes.questions[1], page.open_row(run.token, event, COMPARE)
    assert filled["seed"] == KnownAnswer(row.text, row.expected) and row.expected
    assert filled["question"] == row.text and filled["percent"] == 60
    with pytest.raises(gr.Error, match="no picture"):
        page.open_row("nobody's", event, COMPARE)


def test_rows_of_a_file_about_drawn_scenes_are_drawn_and_opened(page):
    told = page.open_results(str(ERRORS), None, None, "")
    assert told["table"].has_pictures and told["shown"] == ERRORS and "drawn" in told["notice"].text
    ids = [row[0] for row in told["table"].rows]
    event = SimpleNamespace(_data={"index": ids.index("30-409"), "side": told["table"].sides.index("fitprune 60 %")})
    filled = page.open_row(ERRORS, event, COMPARE)
    number = 3_030_000_409  # which the guide of errors has in its address
    assert filled["picture"].tobytes() == scene_of(number).draw().tobytes()
    looked = page.look(ERRORS, event)
    assert looked["picture"].size == filled["picture"].size and looked["pictured"] == ids.index("30-409")
    assert (filled["question"], filled["seed"].answer, filled["percent"]) == ("what's on the blue sign", "9Y", 60)
    assert page.open_results(None, None, ERRORS, "errors.csv")["table"].rows == []


def test_the_answers_that_ship_open_where_pruning_went_wrong_with_pictures_and_the_way_to_compare(page):
    told = page.open_shipped()
    table, shipped = told["table"], told["shown"]
    assert (len(table.rows), table.sides[table.side], table.show) == (2_159, "fitprune 60 %", "lost")
    assert "2,159 questions, 11 sides" in told["notice"].text and table.has_pictures and told["results"] is None
    marks = zip(table.marks[0], table.marks[table.side], strict=True)
    lost = [at for at, pair in enumerate(marks) if pair == ("1", "0")]
    for row in (lost[0], lost[-1]):
        filled = page.open_row(shipped, SimpleNamespace(_data={"index": row, "side": table.side}), COMPARE)
        assert filled["question"] == table.rows[row][2] and filled["seed"].answer == table.rows[row][3]
        assert filled["picture"] is not None and filled["percent"] == 60
    assert "table" not in page.open_results(None, None, shipped, told["title"])  # the field was emptied by it


def test_the_same_file_given_by_a_visitor_has_its_pictures_too(page, tmp_path):
    copied = shutil.copy(evaluation_of(page.engine), tmp_path / "evaluation.csv")
    told = page.open_results(str(copied), None, None, "")
    assert told["table"].has_pictures and told["table"].show == "all"
    gone = page.open_results(None, None, told["shown"], "evaluation.csv")
    assert gone["table"].rows == []


def test_a_row_of_the_evaluation_has_the_picture_that_was_asked_about():
    """Against the evaluation's own way to the questions, which draws every scene."""
    number, pictures = 0, {}
    for _, picture, question, answer in scene_items(4):
        pictures.setdefault(id(picture), (number, picture))
        first = pictures[id(picture)][0]
        scene = find_evaluated(f"test-{number}", f"scene-{first:05d}.png", question, answer)
        assert scene is not None and scene.draw().tobytes() == picture.tobytes()
        assert find_evaluated(f"test-{number}", f"scene-{first:05d}.png", question, "another answer") is None
        assert find_evaluated(f"test-{number + 1}", f"scene-{first:05d}.png", question, answer) is None
        number += 1
    assert number > 30


@pytest.mark.parametrize("name", ["test-9999", "test-99999999", "test-x", "test--1", "test-01", ""])
def test_a_row_of_no_evaluation_has_no_scene(name):
    assert find_evaluated(name, "scene-00000.png", "What is it?", "a key") is None


def test_another_model_ships_no_answers(page, monkeypatch):
    monkeypatch.setattr(type(page.engine), "is_demo", False)
    assert evaluation_of(page.engine) is None
    with pytest.raises(gr.Error):
        page.open_shipped()


def test_rows_that_only_look_like_those_of_drawn_scenes_have_no_picture(page, results):
    told = page.open_results(results, None, None, "")
    assert not told["table"].has_pictures and told["shown"] is None
    with pytest.raises(gr.Error, match="no picture"):
        page.open_row(told["shown"], SimpleNamespace(_data={"index": 0, "side": 1}), COMPARE)


def test_a_side_says_where_its_method_drops_where_that_decides(page, tmp_path):
    run = page.runs.ask(None, None, 10, [60, 90], ["fitprune", "fastv", "fastv:layer=1"])
    until = time.monotonic() + 30
    while run.is_busy and time.monotonic() < until:
        time.sleep(0.01)
    table = page.look_after(run.token)["table"]
    assert dict(zip(table.sides, table.placed, strict=True)) == {
        "original": "",
        "fitprune 60 %": "",
        "fitprune 90 %": "",
        "fastv 60 %": "after layer 2, as in its paper",
        "fastv 90 %": "after layer 1",  # after two of twelve all that is left is a sixth
        "fastv(layer=1) 60 %": "after layer 1",
        "fastv(layer=1) 90 %": "after layer 1",
    }


@pytest.mark.parametrize(
    ("more", "words"),
    [("guess", "choose one of"), ("fastv:layer=5", r"cannot save 80 %.*after layer 5"), ("random:sed=1", "no option")],
)
def test_what_cannot_be_asked_is_told_before_anything_is(page, more, words):
    told = page.begin(None, "scenes", 10, ["fitprune"], [], [60, 80], more, "", REQUEST)
    assert told["notice"].kind == "error" and re.search(words, told["notice"].text, re.DOTALL)
    assert not page.runs.folder.exists() or not list(page.runs.folder.iterdir())
