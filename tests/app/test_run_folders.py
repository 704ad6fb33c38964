"""Folders of runs: nothing goes but runs that nobody works on, whoever else has something in the folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.background.run_folders import PLAN, RunFolders
from app.background.runs import Runs
from app.settings import Limits
from tests.app.fake_engine import FakeEngine
from tests.app.test_runs import begin, wait_for

ROOT = Path(__file__).resolve().parents[2]
MB = 2**20
FEW = Limits(max_stored_mb=2, max_upload_mb=1, max_requests=1_000)


def age(folder: Path, seconds: float = 1e6) -> None:
    """Have all that is in a folder, and the folder, be changed so long ago."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - seconds, time.time() - seconds))


@contextmanager
def going_on(runs: Runs, monkeypatch, **options):
    """A run that is on the way inside the block."""
    free, is_begun = threading.Event(), threading.Event()
    monkeypatch.setattr(runs, "_do", lambda run, progress: is_begun.set() or free.wait(60))
    run = begin(runs, **options)
    try:
        assert is_begun.wait(10)
        yield run
    finally:
        free.set()
        wait_for(run)


def test_what_is_no_run_stays_however_old_and_large(tmp_path):
    """Somebody names a folder of his own: files, folders, one whose name might be a run's, and a link to elsewhere."""
    elsewhere, base = tmp_path / "elsewhere", tmp_path / "base"
    for folder in (elsewhere, base / "photos", base / ("x" * 24), base / ".hidden"):
        folder.mkdir(parents=True)
        (folder / "mine.bin").write_bytes(bytes(MB))
    (elsewhere / PLAN).write_text("{}")
    (base / ("y" * 24)).symlink_to(elsewhere)
    (base / ("z" * 24)).write_bytes(bytes(MB))
    (base / PLAN).write_text("{}")
    age(base)
    age(elsewhere)
    before = {path: path.lstat().st_mtime for path in tmp_path.rglob("*") if path.is_file()}
    runs = Runs(FakeEngine(limits=FEW), base)
    runs.ask(None, None, 4, [60], ["fitprune"])
    wait_for(runs.ask(None, None, 4, [60], ["fitprune"]))
    assert {path: path.lstat().st_mtime for path in before} == before and (base / ("y" * 24)).is_symlink()


@pytest.mark.parametrize("how", ["old", "large"])
def test_a_run_of_another_server_stays_while_that_works_on_it(tmp_path, monkeypatch, how):
    """And nobody goes on with it elsewhere: two would write one journal. Once it is over, it goes as any other."""
    here, there = (Runs(FakeEngine(limits=FEW), tmp_path) for _ in range(2))
    with going_on(there, monkeypatch, count=1) as run:
        (run.folder / "more").write_bytes(bytes(2 * MB if how == "large" else 1))
        age(run.folder)
        if how == "old":
            wait_for(here.ask(None, None, 4, [60], ["fitprune"]))
        else:
            with pytest.raises(ValueError, match="Runs that are on the way take 2 MB"):
                here.ask(None, None, 4, [60], ["fitprune"])
        assert (run.folder / "more").is_file() and not here.remove(run.token)
        found = here.find(run.token)
        with pytest.raises(ValueError, match="another server has it"):
            here.begin(found.token, found.plan)
    assert wait_for(run).state == "done"
    age(run.folder)
    wait_for(here.ask(None, None, 4, [60], ["fitprune"]))
    assert not run.folder.exists() and there.find(run.token) is run


def test_one_that_is_being_filled_by_another_server_stays_and_goes_once_that_was_killed(tmp_path):
    """A program of its own holds a folder without a plan; its end, by -9, lets go of it."""
    program = "import sys, time, pathlib\nfrom app.background.run_folders import RunFolders\n"
    program += "folders = RunFolders(pathlib.Path(sys.argv[1]))\nprint(folders.make(), flush=True)\ntime.sleep(60)\n"
    command = [sys.executable, "-c", program, str(tmp_path)]
    other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        token = other.stdout.readline().strip()
        age(tmp_path / token)
        runs = Runs(FakeEngine(), tmp_path)
        runs.new_folder()
        assert (tmp_path / token).is_dir()
    finally:
        other.kill()
        other.wait()
    runs.new_folder()
    assert not (tmp_path / token).exists()


def test_only_its_owner_may_look_into_the_folder_and_into_each_run(tmp_path):
    folders = RunFolders(tmp_path / "deep" / "runs")
    token = folders.make()
    modes = [stat.S_IMODE(folder.stat().st_mode) for folder in (folders.base, folders.of(token))]
    assert modes == [0o700, 0o700]


def test_a_run_that_was_stopped_while_it_waited_is_let_go_of_at_once(tmp_path, monkeypatch):
    runs = Runs(FakeEngine(), tmp_path)
    with going_on(runs, monkeypatch, count=1) as first:
        second = begin(runs, count=1)
        assert list(runs._folders._held) == [first.token, second.token]
        second.stop()
        assert list(runs._folders._held) == [first.token] and runs.remove(second.token)
    assert not runs._folders._held
