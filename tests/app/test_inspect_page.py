"""The Inspect page's handlers, called as plain Python: files that come and go, a run that ends, a row for Compare."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest

from app.pages.inspect import InspectPage
from app.runs import Runs
from app.scenes import KnownAnswer
from tests.app.fake_engine import FakeEngine
from tests.browser.pages import write_results

NAMES = ("results", "pruned_log", "notice", "table", "picture", "token", "shown", "title", "timer", "stop")


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
    outcomes = page._outcomes_of(run.token)
    names = ("picture", "question", "seed", "percent", "sides")
    compare = SimpleNamespace(parts=SimpleNamespace(**{name: name for name in names}))
    event = SimpleNamespace(_data={"index": 1, "side": 1})
    row, filled = outcomes.questions[1], page.open_row(run.token, event, compare)
    assert filled["seed"] == KnownAnswer(row.text, row.expected) and row.expected
    assert filled["question"] == row.text and filled["percent"] == 60
    with pytest.raises(gr.Error, match="no picture"):
        page.open_row("nobody's", event, compare)
