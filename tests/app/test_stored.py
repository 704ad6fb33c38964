"""What visitors leave on the disk is bounded: the oldest goes, what somebody works with stays, the rest is refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from pathlib import Path

import httpx
import pytest

import app.door.stored
from app.background.runs import Runs
from app.door.stored import UploadsRoom, make_room
from app.door.uploads import Upload, is_held
from app.settings import Limits, Settings
from app.visitors.line import Line
from app.visitors.visits import visit
from tests.app.fake_engine import FakeEngine
from tests.app.serving import served_demo

MB = 2**20
FEW = Limits(max_upload_mb=1, max_stored_mb=2)


def stored(folder, name, size=MB // 2, age=0.0):
    """A file as Gradio stores it; `age` in seconds."""
    path = folder / hashlib.sha256(name.encode()).hexdigest() / f"{name}.png"
    path.parent.mkdir()
    path.write_bytes(bytes(size))
    for each in (path, path.parent):
        os.utime(each, (time.time() - age, time.time() - age))
    return path


def post(url, data):
    return httpx.post(f"{url}gradio_api/upload", files={"files": ("x.png", data)}, timeout=20)


def sizes(folder):
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_oldest_go_until_the_rest_is_small_enough(tmp_path):
    for number in range(8):
        stored(tmp_path, str(number), size=100_000, age=100 - number)
    left = make_room(list(tmp_path.iterdir()), 400_000, lambda entry: False)
    names = {path.stem for path in tmp_path.rglob("*.png")}
    assert left <= 400_000 and names == {"5", "6", "7"}  # folders take some bytes, too


def test_files_take_what_they_take_on_the_disk(tmp_path):
    """Thousands of empty files are not nothing: each is looked at whenever room is made."""
    folder = tmp_path / "run"
    folder.mkdir()
    for number in range(100):
        (folder / str(number)).write_bytes(b"x")
    assert make_room([folder], 10**9, lambda entry: False) >= 100 * 4096


def test_what_is_needed_stays_however_old(tmp_path):
    old, new = stored(tmp_path, "old", age=100), stored(tmp_path, "new")
    assert make_room(list(tmp_path.iterdir()), 0, lambda entry: entry == old.parent) >= MB // 2
    assert old.exists() and not new.exists()


def test_a_link_is_not_followed(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "uploads"
    outside.mkdir(), folder.mkdir()
    (outside / "mine.txt").write_bytes(bytes(MB))
    (folder / "link").symlink_to(outside)
    assert make_room(list(folder.iterdir()), MB // 2, lambda entry: False) < MB // 2
    make_room(list(folder.iterdir()), 0, lambda entry: False)
    assert (outside / "mine.txt").exists() and not list(folder.iterdir())


def test_what_was_counted_is_not_walked_through_again_unless_it_changed(tmp_path, monkeypatch):
    room, walked = UploadsRoom(tmp_path, FEW), []
    measure = app.door.stored._changed_and_size
    monkeypatch.setattr(app.door.stored, "_changed_and_size", lambda entry: walked.append(entry.name) or measure(entry))
    pictures = [stored(tmp_path, str(number), size=MB // 4, age=100 - number) for number in range(4)]
    for number in range(4):
        room.arrived(room.expect(MB // 8))
        assert len(walked) == 4, number
    pictures[0].with_suffix(".moved").write_bytes(bytes(MB // 4))  # the same picture comes again: it is the newest now
    room.arrived(room.expect(MB))
    assert walked[4:] == [pictures[0].parent.name]
    assert pictures[0].exists() and not pictures[1].exists()
    assert sizes(tmp_path) + MB <= 2 * MB


def test_a_picture_that_somebody_works_with_stays_and_the_next_upload_is_refused_in_words(tmp_path):
    room = UploadsRoom(tmp_path, FEW)
    pictures = [stored(tmp_path, str(number), size=MB * 3 // 4, age=100 - number) for number in range(2)]
    with Upload("0.png", pictures[0]).held():
        assert is_held(pictures[0].parent)
        taken = room.expect(MB // 2)
        assert pictures[0].exists() and not pictures[1].exists()
        with pytest.raises(ValueError, match=r"^This server holds 2 MB of files, as many as it may, .* in a minute\.$"):
            room.expect(MB)
        room.arrived(taken)
        room.arrived(room.expect(MB))
    assert not is_held(pictures[0].parent)
    room.expect(2 * MB)
    assert not pictures[0].exists()


def test_what_the_app_began_with_stays_and_a_file_on_its_way_too(tmp_path):
    own = stored(tmp_path, "own", age=1_000)
    room = UploadsRoom(tmp_path, FEW)
    coming, given_up = tmp_path / "tmpabc", tmp_path / "tmpold"
    for path in (coming, given_up):
        path.write_bytes(bytes(600))
    os.utime(given_up, (0, 0))
    room.expect(2 * MB - 10_000)  # one of them takes two blocks of 4,096 bytes
    assert own.exists() and coming.exists() and not given_up.exists()


def test_pictures_that_the_app_drew_are_tidied(tmp_path):
    room = UploadsRoom(tmp_path, FEW)
    drawn = [stored(tmp_path, str(number), age=100 - number) for number in range(6)]
    room.tidy()
    assert [path.exists() for path in drawn] == [False] * 3 + [True] * 3


@pytest.mark.slow
def test_over_http_many_uploads_stay_within_the_bound_and_the_last_can_be_asked_about(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with served_demo(FakeEngine(limits=FEW)) as (_, url):
        (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
        before = sizes(folder)
        for number in range(8):
            answer = post(url, bytes([number]) * (MB * 3 // 4))
            assert answer.status_code == 200 and os.path.exists(answer.json()[0])
            assert sizes(folder) - before <= 2 * MB


@pytest.mark.slow
def test_over_http_an_upload_that_finds_no_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with served_demo(FakeEngine(limits=FEW)) as (_, url):
        one, other = (Path(post(url, bytes([number]) * (MB * 9 // 10)).json()[0]) for number in range(2))
        with Upload("x.png", one).held(), Upload("x.png", other).held():
            refused = post(url, b"x" * (MB // 2))
        assert refused.status_code == 507 and "2 MB of files, as many as it may" in refused.json()["detail"]
        assert post(url, b"x" * (MB // 2)).status_code == 200


@pytest.mark.parametrize("how", ["line", "model"])
def test_a_request_holds_its_picture_from_the_line_on(how):
    """Whoever waits or runs keeps his picture; whoever is done or gone does not."""
    entered = []

    class Holding:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *_):
            entered.append(False)

    def work(should_stop):
        yield "answer"

    async def go():
        line = Line()
        first = line.join("other") if how == "line" else None
        place = line.join("me")
        items = visit(line, place, work, Holding())
        await anext(items)
        assert entered == [True]
        if first is None:
            assert await anext(items) == "answer"
            assert entered == [True]
        await items.aclose()
        assert entered == [True, False] and place.is_over()

    asyncio.run(go())


@pytest.mark.slow
def test_runs_are_bounded_too_and_those_on_the_way_stay(tmp_path, monkeypatch):
    runs = Runs(FakeEngine(limits=FEW), tmp_path)
    free = threading.Event()
    monkeypatch.setattr(runs, "_do", lambda run, progress: free.wait(60))
    asked = []

    def ask():
        asked.append(runs.ask(None, None, 4, [60], ["fitprune"]))
        return asked[-1]

    try:
        busy = ask()
        over = [ask() for _ in range(2)]
        for run in over:
            run.stop()
        (busy.folder / "more").write_bytes(bytes(MB))
        for age, run in zip((100, 50), over, strict=True):
            run.state = "stopped"
            (run.folder / "more").write_bytes(bytes(MB * 3 // 4))
            for path in (run.folder, *run.folder.rglob("*")):
                os.utime(path, (time.time() - age, time.time() - age))
        late = ask()
        assert busy.folder.exists() and late.folder.exists()
        assert [run.folder.exists() for run in over] == [False, sizes(over[1].folder) > 0] and sizes(tmp_path) <= 2 * MB
        assert runs.find(over[0].token) is None
        (late.folder / "more").write_bytes(bytes(MB))
        with pytest.raises(ValueError, match="Runs that are on the way take 2 MB, as many as they may"):
            ask()
        assert {path.name for path in tmp_path.iterdir()} == {busy.token, late.token}
    finally:
        free.set()


def test_it_must_hold_two_uploads(capsys):
    with pytest.raises(ValueError, match="20 MB on disk are too few: they must hold at least twice the 16 MB"):
        Limits(max_stored_mb=20)
    with pytest.raises(SystemExit) as ended:
        Settings.read(["--max-stored-mb", "20"], {})
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1
