"""Runs in the background: on a tiny real model, one at a time, stopped, gone on with, and after a server has died."""

from __future__ import annotations

import json
import os
import threading
import time
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest

import fitprune_core as fp
from app.background import runs as runs_module
from app.background.runs import CALIBRATE, EVALUATE, Pace, Plan, Runs
from app.pages.inspect import InspectPage
from app.showing.tables import table_of
from fitprune_core.evaluation.outcomes import read_results
from tests.tiny import random_picture


@pytest.fixture
def engine(tiny_engine):
    return tiny_engine


@pytest.fixture
def runs(engine, tmp_path):
    return Runs(engine, tmp_path / "runs")


def begin(runs, count=3, percents=(60.0,), methods=("fitprune", "random")):
    """A run of `count` questions in a folder of its own."""
    token, folder = runs.new_folder()
    lines = []
    for number in range(count):
        random_picture(seed=number).save(folder / f"{number}.png")
        entry = {"id": str(number), "image": f"{number}.png", "question": f"What is {number}?", "answer": "a key"}
        lines.append(json.dumps(entry | {"kind": "even" if number % 2 == 0 else "odd"}))
    (folder / "samples.jsonl").write_text("\n".join(lines))
    return runs.begin(token, Plan("samples.jsonl", "my set", percents, methods))


def wait_for(run, seconds=60.0):
    until = time.monotonic() + seconds
    while run.is_busy and time.monotonic() < until:
        time.sleep(0.02)
    assert not run.is_busy
    return run


@pytest.mark.slow
def test_a_run_answers_what_evaluate_answers(engine, runs, tmp_path):
    run = wait_for(begin(runs))
    assert (run.state, run.done, run.total) == ("done", 3, 3)
    fp.evaluate(engine.model, engine.processor, run.folder / "samples.jsonl", [0.6], engine._fit, tmp_path / "ours.csv",
                methods=("fitprune", "random"), max_new_tokens=2)  # fmt: skip
    assert run.results.read_text() == (tmp_path / "ours.csv").read_text()


def test_one_run_at_a_time_has_the_model(engine, runs, monkeypatch):
    free, at_once, most = threading.Event(), [], []

    def evaluate(*_, **__):
        at_once.append(1)
        most.append(len(at_once))
        free.wait(10)
        at_once.pop()

    monkeypatch.setattr(engine, "evaluate", evaluate)
    both = [begin(runs), begin(runs)]
    until = time.monotonic() + 10
    while sorted(run.state for run in both) != ["running", "waiting"] and time.monotonic() < until:
        time.sleep(0.01)
    assert "another run has the model" in next(run for run in both if run.state == "waiting").progress
    free.set()
    assert [wait_for(run).state for run in both] == ["done", "done"] and max(most) == 1


@pytest.mark.slow
def test_what_was_answered_before_a_stop_is_kept(engine, runs, monkeypatch):
    evaluate, is_begun = engine.evaluate, threading.Event()

    def stopped_after_one(*arguments, progress, **options):
        def tell(done, total):
            progress(done, total)
            is_begun.wait(10)
            run.stop()

        evaluate(*arguments, progress=tell, **options)

    monkeypatch.setattr("fitprune_core.run.batch.BatchSize.of", lambda *_: 1)
    monkeypatch.setattr(engine, "evaluate", stopped_after_one)
    run = begin(runs)
    is_begun.set()
    assert wait_for(run).state == "stopped" and run.done == 1
    assert len(read_results(run.results).questions) == 1
    monkeypatch.setattr(engine, "evaluate", evaluate)
    again = wait_for(runs.begin(run.token, run.plan))
    assert again.state == "done" and len(read_results(again.results).questions) == 3


def test_a_run_is_found_by_its_token_after_the_server_has_died(engine, runs):
    run = wait_for(begin(runs))
    found = Runs(engine, runs.folder).find(run.token)
    assert found.plan == run.plan and found.results.is_file() and not found.is_busy


def test_how_a_run_ended_is_known_after_the_server_has_died_and_said_in_the_same_words(engine, runs):
    done, failed = wait_for(begin(runs)), wait_for(begin(runs, methods=("no-such-method",)))
    assert (done.state, failed.state) == ("done", "failed")
    later = Runs(engine, runs.folder)
    for run in (done, failed):
        assert (later.find(run.token).state, later.find(run.token).problem) == (run.state, run.problem)
        now, back = (shown_of(each, run) for each in (runs, later))
        assert back == now and ("Stopped" in back) is False


def test_a_run_that_was_stopped_is_called_so_after_the_server_has_died(engine, runs, monkeypatch):
    def one_answer(samples, percents, methods, out, *, progress, should_stop):
        evaluate(samples, percents, methods, out, progress=progress, should_stop=lambda: False)
        progress(1, 3)
        _until(should_stop)

    evaluate = engine.evaluate
    monkeypatch.setattr(engine, "evaluate", one_answer)
    run = begin(runs)
    until = time.monotonic() + 30
    while run.done != 1 and time.monotonic() < until:
        time.sleep(0.01)
    run.stop()
    assert wait_for(run).state == "stopped"
    later = Runs(engine, runs.folder)
    assert shown_of(later, run) == shown_of(runs, run) == "3 questions. Stopped; these are the answers so far."


def shown_of(runs, run) -> str:
    """What Inspect says of a run to whoever opens the page."""
    page = InspectPage(runs.engine, runs)
    names = ("notice", "timer", "stop", "table", "shown", "title")
    page.parts = SimpleNamespace(**{name: name for name in names})
    return page.go_on(run.token)["notice"].text


@pytest.mark.parametrize("token", [None, "", "x", "../../../../etc/passwd", "a" * 24, "../" + "a" * 21])
def test_no_other_token_finds_anything(runs, token):
    begin(runs)
    assert runs.find(token) is None


@pytest.mark.slow
def test_what_is_older_than_a_day_goes(engine, runs):
    old, new = wait_for(begin(runs)), wait_for(begin(runs))
    os.utime(old.folder, (0, 0))
    runs.new_folder()
    assert not old.folder.exists() and new.folder.exists() and runs.find(old.token) is None


def test_one_that_was_stopped_does_not_go_on_when_the_server_comes_back(engine, runs, monkeypatch):
    monkeypatch.setattr(engine, "evaluate", lambda *_, should_stop, **__: _until(should_stop))
    run = begin(runs)
    run.stop()
    wait_for(run)
    later = Runs(engine, runs.folder)
    assert later.go_on(run.token).state == "stopped"


def test_what_was_done_before_the_server_came_back_took_no_time_of_it():
    pace = Pace(time.monotonic() - 10, done=4_500)
    assert pace.seconds_left(4_500, 5_000) is None
    assert pace.seconds_left(4_600, 5_000) == pytest.approx(40, rel=0.1)


def test_pictures_have_no_more_pixels_than_anywhere_else(engine, runs, monkeypatch):
    monkeypatch.setattr(engine, "limits", replace(engine.limits, max_pixels=1_000))
    run = wait_for(begin(runs, count=1))
    assert run.state == "failed" and "may have up to 1,000 pixels" in run.problem


def test_bad_questions_are_told_at_once(engine, runs, monkeypatch):
    monkeypatch.setattr(runs_module, "MOST_QUESTIONS", 2)
    with pytest.raises(ValueError, match="3 questions; a run here asks up to 2"):
        begin(runs)


def zipped(path, lines, picture=b""):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/q.jsonl", "\n".join(json.dumps(line) for line in lines))
        archive.writestr("set/pictures/one.png", picture)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("task", [EVALUATE, CALIBRATE])
@pytest.mark.parametrize("image", ["{outside}", "{missing}", "../../../secret.png", "pictures/../../../../secret.png"])
def test_a_picture_of_the_server_is_not_asked_about_and_nobody_learns_whether_it_is_there(
    engine, runs, tmp_path, image, task
):
    """One sentence for all of them; the picture is not opened, and nothing stays of the questions."""
    random_picture().save(tmp_path / "secret.png")
    image = image.format(outside=tmp_path / "secret.png", missing=tmp_path / "missing.png")
    good, bad = ({"id": name, "image": where, "question": "What is it?"} for name, where in
                 (("1", "pictures/one.png"), ("2", image)))  # fmt: skip
    path = zipped(tmp_path / "set.zip", [good, bad], (tmp_path / "secret.png").read_bytes())
    with pytest.raises(ValueError, match=r"q\.jsonl, line 2: image must be the path of a picture that came with"):
        runs.ask(None, path, 10, [60], ["fitprune"], task=task)
    assert list(runs.folder.iterdir()) == []
    path = zipped(tmp_path / "set.zip", [good], (tmp_path / "secret.png").read_bytes())
    assert wait_for(runs.ask(None, path, 10, [60], ["fitprune"], task=task)).state == "done"


@pytest.mark.slow
def test_a_zip_that_fails_in_whatever_way_leaves_nothing_and_ends_nothing(engine, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "evaluate", lambda *_, should_stop, **__: _until(should_stop))
    old = begin(runs)
    monkeypatch.setattr(runs_module, "unpack", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runs.ask(old.token, "set.zip", 10, [60], ["fitprune"])
    with pytest.raises(ValueError, match="at least one method"):
        runs.ask(old.token, None, 10, [60], [])
    assert [folder.name for folder in runs.folder.iterdir()] == [old.token]
    assert old.is_busy and list(runs._folders._held) == [old.token]
    new = runs.ask(old.token, None, 10, [60], ["fitprune"])
    assert wait_for(old).state == "stopped"
    new.stop()
    wait_for(new)


def test_what_cannot_begin_is_told_without_a_word_over_the_progress_of_what_runs(engine, runs, monkeypatch):
    told = []
    monkeypatch.setattr("app.pages.wiring.gr.Warning", told.append)
    monkeypatch.setattr(engine, "evaluate", lambda *_, should_stop, **__: _until(should_stop))
    page = InspectPage(engine, runs)
    page.parts = SimpleNamespace(
        notice="notice", timer="timer", token="token", stop="stop", table="table", shown="shown"
    )
    request = SimpleNamespace(session_hash="visitor", client=None)
    asked = (None, "scenes", 10, [], [], [60])
    alone = page.begin(*asked, "", "", request)
    assert alone["notice"].text == "Choose at least one method and one budget." and told == []
    run = begin(runs)
    assert list(page.begin(*asked, "", run.token, request)) == ["timer"]
    assert told == ["Choose at least one method and one budget."] and run.is_busy
    run.stop()
    wait_for(run)


def test_one_that_waits_is_over_as_soon_as_it_is_stopped_and_begins_no_more(engine, runs, monkeypatch):
    asked = []
    monkeypatch.setattr(engine, "evaluate", lambda *_, should_stop, **__: asked.append(1) or _until(should_stop))
    first = begin(runs)
    until = time.monotonic() + 10
    while not asked and time.monotonic() < until:
        time.sleep(0.01)
    second = begin(runs)
    second.stop()
    assert second.state == "stopped" and not second.is_busy and first.is_busy
    page = InspectPage(engine, runs)
    page.parts = SimpleNamespace(notice="notice", timer="timer", stop="stop", table="table")
    assert page.go_on(second.token)["notice"].text == "Stopped before the first answer."
    first.stop()
    wait_for(first)
    assert asked == [1] and second.state == "stopped"


def test_one_who_asks_again_and_again_behind_a_long_run_holds_one_place_and_no_thread(runs, monkeypatch):
    """30 runs, each in the place of the one before; of them the last is begun, on the thread of the first."""
    free, begun = threading.Event(), []
    monkeypatch.setattr(runs, "_do", lambda run, progress: begun.append(run.token) or free.wait(30))
    long = begin(runs)
    until = time.monotonic() + 10
    while not begun and time.monotonic() < until:
        time.sleep(0.01)
    before, asked = threading.active_count(), []
    for _ in range(30):
        asked.append(runs.ask(asked[-1].token if asked else None, None, 10, [60], ["fitprune"]))
    assert threading.active_count() <= before and list(runs._line._waiting) == [asked[-1]]
    assert [run.state for run in asked] == ["stopped"] * 29 + ["waiting"]
    free.set()
    assert [wait_for(run).state for run in (long, asked[-1])] == ["done", "done"]
    assert begun == [long.token, asked[-1].token]


def test_runs_have_the_model_in_the_order_in_which_they_came(runs, monkeypatch):
    free, begun = threading.Event(), []
    monkeypatch.setattr(runs, "_do", lambda run, progress: begun.append(run) or free.wait(30))
    asked = [begin(runs, count=1) for _ in range(5)]
    free.set()
    assert all(wait_for(run).state == "done" for run in asked) and begun == asked
    assert wait_for(begin(runs, count=1)).state == "done"  # also after the thread has ended


@pytest.mark.slow
def test_rows_keep_their_pictures_while_another_run_is_on_the_way(engine, runs, monkeypatch):
    page = InspectPage(engine, runs)
    names = ("notice", "timer", "token", "stop", "table", "shown", "title", "picture", "pictured")
    page.parts = SimpleNamespace(**{name: name for name in names})
    first = wait_for(begin(runs))
    assert page.look_after(first.token)["shown"] == first.token
    monkeypatch.setattr(engine, "evaluate", lambda *_, should_stop, **__: _until(should_stop))
    second = begin(runs)
    assert second.is_busy and "shown" not in page.look_after(second.token)
    event = SimpleNamespace(_data={"index": 0, "side": 1})
    assert page.look(first.token, event)["picture"] and page.look(second.token, event)["picture"] is None
    second.stop()
    wait_for(second)
    assert "shown" not in page.look_after(second.token)  # it was stopped before its first answer


@pytest.mark.parametrize("index", [True, 1.0, "1", None, -1, 3])
def test_only_a_number_of_a_row_shows_a_picture(engine, runs, monkeypatch, index):
    page = InspectPage(engine, runs)
    page.parts = SimpleNamespace(picture="picture", pictured="pictured")
    outcomes = SimpleNamespace(questions=[SimpleNamespace(picture=f"{number}.png") for number in range(3)])
    monkeypatch.setattr("app.pages.inspect.outcomes_of", lambda shown, runs: outcomes)
    run = begin(runs)
    assert page.look(run.token, SimpleNamespace(_data={"index": 1}))["picture"] is not None
    assert page.look(run.token, SimpleNamespace(_data={"index": index}))["picture"] is None
    run.stop()
    wait_for(run)


def _until(should_stop):
    while not should_stop():
        time.sleep(0.01)


def test_a_run_that_fails_says_why(engine, runs, monkeypatch):
    run = wait_for(begin(runs, methods=("no-such-method",)))
    assert run.state == "failed" and "no-such-method" in run.problem


class TestTable:
    @pytest.mark.slow
    def test_it_holds_what_the_results_hold(self, engine, runs):
        run = wait_for(begin(runs, count=4))
        outcomes = read_results(run.results)
        table, left_out = table_of(outcomes, "title", has_pictures=True)
        assert left_out == "" and table.sides == ["original", "fitprune 60 %", "random 60 %"]
        assert [side.reduction for side in outcomes.sides[1:]] == [0.6, 0.6]
        assert [row[0] for row in table.rows] == ["0", "1", "2", "3"]
        for side, answers, marks, same in zip(outcomes.sides, table.answers, table.marks, table.same, strict=True):
            assert answers == [given.text for given in side.answers]
            assert marks == "".join(str(int(given.right)) for given in side.answers)
            firsts = [fp.normalised(given.text) for given in outcomes.sides[0].answers]
            assert same == "".join(
                str(int(fp.normalised(g.text) == first)) for g, first in zip(side.answers, firsts, strict=True)
            )
        for side, margins in zip(outcomes.sides, table.margins, strict=True):
            assert margins == [given.margin for given in side.answers] and all(0 <= each <= 1 for each in margins)
        assert list(table.sums) == ["", "even", "odd"]
        assert [table.sums[kind][0].right[1] for kind in ("", "even", "odd")] == [4, 2, 2]

    @pytest.mark.slow
    def test_answers_of_an_older_version_say_not_how_sure_they_were(self, engine, runs):
        outcomes = read_results(wait_for(begin(runs, count=4)).results)
        sides = outcomes.sides
        without = tuple(replace(each, answers=tuple(replace(a, margin=None) for a in each.answers)) for each in sides)
        assert table_of(replace(outcomes, sides=without), "title", has_pictures=True)[0].margins == []
        mixed = replace(outcomes, sides=(without[0], *sides[1:]))
        assert table_of(mixed, "title", has_pictures=True)[0].margins[0] == [-1.0] * 4

    @pytest.mark.slow
    def test_the_same_answers_have_the_same_fingerprint(self, engine, runs):
        run = wait_for(begin(runs))
        one, other = (table_of(read_results(run.results), "title", has_pictures=True)[0] for _ in range(2))
        named, _ = table_of(read_results(run.results), "another", has_pictures=True)
        assert one.fingerprint == other.fingerprint != named.fingerprint

    @pytest.mark.slow
    def test_what_a_browser_cannot_take_is_cut_and_said(self, engine, runs, monkeypatch):
        monkeypatch.setattr("app.showing.tables.MOST_ANSWERS", 6)
        run = wait_for(begin(runs, count=4))
        table, left_out = table_of(read_results(run.results), "title", has_pictures=True)
        assert len(table.rows) == 2 and table.sums[""][0].right[1] == 4
        assert "the first 2 of 4 questions" in left_out
