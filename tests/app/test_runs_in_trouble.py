"""Runs in the background when the disk is full or closed, or the server is killed: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import csv
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.background.runs import CALIBRATE, Runs
from app.pages.inspect import InspectPage
from app.words import sentence
from fitprune_core.evaluation.outcomes import read_results
from tests.app.fake_engine import FakeEngine
from tests.app.test_runs import begin, wait_for

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def files_up_to(size: int):
    """No file of this process may grow beyond `size` bytes, which a writer is told as by a full disk: an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_that_finds_no_room_is_refused_in_words_and_leaves_nothing(tmp_path):
    runs = Runs(FakeEngine(), tmp_path / "runs")
    with files_up_to(100), pytest.raises(ValueError, match="cannot keep a run now: File too large"):
        runs.ask(None, None, 10, [60], ["fitprune"])
    assert list(runs.folder.iterdir()) == []
    assert wait_for(runs.ask(None, None, 10, [60], ["fitprune"])).state == "done"


def test_a_folder_that_cannot_be_written_is_told_in_words(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match="cannot keep a run now: (File exists|Not a directory)") as error:
        Runs(FakeEngine(), tmp_path / "runs").ask(None, None, 10, [60], ["fitprune"], task=CALIBRATE)
    assert str(tmp_path) not in sentence(error.value)


@pytest.mark.slow
def test_a_disk_that_fills_on_the_way_ends_the_run_with_what_it_has(tiny_engine, tmp_path, monkeypatch):
    """The journal meets the limit; the run says so without a folder, and goes on when there is room again."""
    runs = Runs(tiny_engine, tmp_path / "runs")
    evaluate = tiny_engine.evaluate

    def short_of_room(*arguments, **options):
        with files_up_to(700):
            evaluate(*arguments, **options)

    monkeypatch.setattr(tiny_engine, "evaluate", short_of_room)
    run = wait_for(begin(runs, count=6))
    assert run.state == "failed" and "cannot be used: disk I/O error" in run.problem
    assert str(tmp_path) not in sentence(run.problem)
    monkeypatch.setattr(tiny_engine, "evaluate", evaluate)
    again = wait_for(runs.begin(run.token, run.plan))
    assert again.state == "done"
    questions = [question.text for question in read_results(again.results).questions]
    assert questions == [f"What is {number}?" for number in range(6)]


@pytest.mark.parametrize("plan", ["", "{", "[]", '{"samples": 5}', '{"samples": "s", "title": "t", "percents": 5}'])
def test_a_plan_that_was_cut_is_a_run_that_is_not_known(tmp_path, plan):
    runs = Runs(FakeEngine(), tmp_path)
    token, folder = runs.new_folder()
    (folder / "plan.json").write_text(plan)
    assert runs.find(token) is None
    page = InspectPage(FakeEngine(), runs)
    page.parts = type("Parts", (), {"timer": "timer", "stop": "stop"})
    assert set(page.go_on(token)) == {"timer", "stop"}


@pytest.mark.slow
def test_two_pages_of_one_visitor_go_on_with_one_run(tmp_path):
    engine = FakeEngine(delay=0.05)
    runs = Runs(engine, tmp_path)
    run = runs.ask(None, None, 10, [60], ["fitprune"])
    assert runs.begin(run.token, run.plan) is run
    assert wait_for(run).state == "done"


@pytest.mark.slow
def test_a_run_of_a_server_that_was_killed_goes_on_and_asks_nothing_twice(tmp_path):
    """kill -9 in the middle, on mini-llava; the next server finishes, and the table has every answer once."""
    begun = _server(tmp_path, "run = runs.ask(None, None, 30, [60], ['fitprune'])")
    token = begun.stdout.readline().strip()
    while "answered 0" in (line := begun.stdout.readline()):
        pass
    assert "answered" in line
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    results = tmp_path / token / "results.csv"
    before = _answers_in(results)
    assert 0 < len(before) < 60 and not results.exists()
    next_one = _server(tmp_path, f"run = runs.find('{token}'); run = runs.begin(run.token, run.plan)")
    assert next_one.communicate(timeout=300) and next_one.returncode == 0
    with results.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["id"], row["reduction"], row["method"]) for row in rows}) == len(rows) == 60
    assert before <= _answers_in(results)


def _server(folder: Path, begins: str) -> subprocess.Popen:
    code = f"""
import time
from pathlib import Path
from app.engine import Engine
from app.background.runs import Runs
from app.settings import Settings
runs = Runs(Engine.from_settings(Settings(model="mini-llava")), Path({str(folder)!r}))
{begins}
print(run.token, flush=True)
while run.is_busy:
    print("answered", run.done, flush=True)
    time.sleep(0.05)
"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)


def _answers_in(results: Path) -> set[tuple]:
    """What the journal of a run holds: numbers of records, what they are of, and what was answered."""
    with contextlib.closing(sqlite3.connect(results.with_name("results.csv.journal"))) as journal:
        rows = journal.execute("SELECT number, sample, way, notes FROM records").fetchall()
    assert len({(sample, way) for _, sample, way, _ in rows}) == len(rows)
    return set(rows)
