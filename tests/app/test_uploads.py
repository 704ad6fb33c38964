"""The door for pictures: what was uploaded here is opened, nothing else is, and no refusal tells what lies where."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio.data_classes import ImageData
from PIL import Image

from app.asking.inputs import Picture
from app.door.uploads import Refused, Upload, refusal, upload_folder
from app.door.uploads import check_values as check_values_within
from app.door.uploads import receive as receive_within
from app.settings import Limits
from app.words import sentence
from tests.app.fake_engine import FakeEngine
from tests.app.pictures import bad_files, data_url, png
from tests.app.serving import call, free_port, served_demo, upload, wait_for

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits()


def receive(path, url, limits=LIMITS) -> Upload:
    return receive_within(path, url, limits)


def check_values(values) -> None:
    check_values_within(values, LIMITS)


@pytest.fixture
def folder():
    with upload_folder() as folder:
        yield folder


@pytest.fixture
def uploaded(folder):
    """A picture as Gradio stores it."""
    path = folder / "0123abcd" / "mine.png"
    path.parent.mkdir()
    path.write_bytes(png((8, 4)))
    return path


@pytest.fixture
def forbidden(folder, uploaded, tmp_path):
    """Names of things that are no uploads, some of which exist."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    link, ladder, pipe = uploaded.with_name("link.png"), folder / "up", uploaded.with_name("pipe.png")
    link.symlink_to(secret)
    ladder.symlink_to(tmp_path)
    os.mkfifo(pipe)
    beside = folder / "beside.png"
    beside.write_bytes(png())
    climbing = os.path.relpath(secret, uploaded.parent)
    return [
        str(secret),
        str(tmp_path / "nothing.png"),
        str(link),
        str(ladder / "secret.png"),
        f"{uploaded.parent}/{climbing}",
        os.path.relpath(uploaded),
        str(pipe),
        str(folder),
        str(uploaded.parent),
        str(uploaded.with_name("yours.png")),
        str(folder / "ffff" / "yours.png"),
        str(beside),
        "/dev/zero",
        "/proc/self/environ",
        "",
        "mine.png\0",
        "~/picture.png",
        f"file://{uploaded}",
        "http://127.0.0.1/picture.png",
        "https://example.org/picture.png",
        "ftp://example.org/picture.png",
    ]


def test_an_upload_is_opened_and_told_by_its_key(uploaded):
    picture = receive(str(uploaded), None)
    assert picture.open().size == (8, 4)
    assert (picture.name, picture.key) == ("mine.png", "0123abcd/mine.png")


def test_everything_else_is_refused_with_one_sentence(forbidden):
    sentences = set()
    for path in forbidden:
        for values in ([{"path": path}], [{"path": path, "url": data_url(png())}], [{"url": path}]):
            with pytest.raises(Refused) as error:
                check_values(values)
            sentences.add(str(error.value))
        with pytest.raises(Refused):
            receive(path, None)
    assert sentences == {str(Refused(LIMITS))}


def test_files_are_found_however_deep_and_unmarked(forbidden):
    for wrap in (lambda file: {"a": [1, {"b": file}]}, lambda file: [[file]], lambda file: {"path": 5, "x": file}):
        with pytest.raises(Refused):
            check_values(wrap({"path": forbidden[0]}))
    check_values([None, 1, "text", {"question": "what?", "rows": [1, 2]}, {"path": None, "url": None}])


def test_a_data_url_is_handed_on_as_it_is_and_leaves_no_file(folder, monkeypatch):
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4), "red").save(buffer, "JPEG", exif=exif)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    picture = Picture(LIMITS).preprocess(ImageData(url=data_url(buffer.getvalue())))
    monkeypatch.undo()
    assert picture.data == buffer.getvalue()
    assert picture.open().size == (4, 8)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("format", ["EPS", "JPEG2000", "ICO", "PDF"])
def test_data_urls_have_the_formats_of_files(format):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4), "red").save(buffer, format)
    with pytest.raises(ValueError, match="format that is not read here"):
        receive(None, data_url(buffer.getvalue())).open()


@pytest.mark.slow
def test_data_urls_have_the_bounds_of_files():
    few, most = Limits(max_upload_mb=1), 2**20
    assert receive(None, data_url(bytes(most)), few).data == bytes(most)
    for url in (data_url(bytes(most + 1)), "data:," + "x" * (most + 1), "data:," + "%00" * (most + 1)):
        with pytest.raises(Refused, match="up to 1 MB"):
            receive(None, url, few)
    with pytest.raises(Refused):
        receive(None, "data:image/png;base64,@@@", few)


def test_a_picture_that_goes_away_before_its_turn_is_refused_alike(uploaded):
    picture = receive(str(uploaded), None)
    uploaded.unlink()
    with pytest.raises(ValueError) as error:
        picture.open()
    assert str(error.value) == refusal(LIMITS)


@pytest.mark.slow
def test_bad_pictures_are_named_without_their_folders(folder, tmp_path):
    home = folder / "cafe"
    home.mkdir()
    for path in bad_files(tmp_path):
        (home / path.name).write_bytes(path.read_bytes())
        with pytest.raises(ValueError) as error:
            receive(str(home / path.name), None).open()
        assert path.name in str(error.value) and str(folder) not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("recipe /srv/app/recipes/x.json is damaged", "Recipe x.json is damaged."),
        ("[Errno 2] No such file: '/home/me/.cache/a b/model.bin'", "[Errno 2] No such file: 'model.bin'."),
        ("see https://example.org/a/b for more", "See https://example.org/a/b for more."),
        ("1/2 of and/or", "1/2 of and/or."),
        ("", "ValueError."),
        ("/tmp/x/cut.png is damaged", "cut.png is damaged."),
    ],
)
def test_sentences_hold_no_folders(text, told):
    assert sentence(ValueError(text)) == told


@pytest.mark.slow
def test_every_event_of_every_page_refuses_alike(tmp_path):
    """Over HTTP: each event that takes a picture, with and without Gradio's mark, and the server answers afterwards."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    paths = [str(secret), str(tmp_path / "nothing.png"), "/dev/zero", "http://127.0.0.1:9/x.png"]
    mark = {"meta": {"_type": "gradio.FileData"}}
    with served_demo(FakeEngine()) as (demo, url):
        told, asked = set(), 0
        for index, event in demo.fns.items():
            places = [at for at, block in enumerate(event.inputs) if isinstance(block, Picture)]
            if not places or event.fn is None:
                continue
            for file in [{"path": path, **more} for path in paths for more in ({}, mark)]:
                last = call(url, index, [file if at in places else None for at in range(len(event.inputs))])
                ended = next(message for message in last if message["msg"] == "process_completed")
                assert not ended["success"]
                told.add(ended["output"]["error"])
                asked += 1
        assert told == {refusal(LIMITS)} and asked >= 16
        image = upload(url, png((96, 96)))
        compare = next(index for index, event in demo.fns.items() if event.api_name == "compare")
        ended = [m for m in call(url, compare, [image, "What?", 60]) if m["msg"] == "process_completed"]
        assert ended[0]["success"]
        raw = [httpx.get(f"{url}gradio_api/file={path}") for path in (secret, tmp_path / "nothing.png")]
        assert {answer.status_code for answer in raw} == {403}


@pytest.mark.slow
def test_uploads_go_with_the_server_and_those_of_a_killed_one_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    program = "import time\nfrom app.door.uploads import upload_folder\nwith upload_folder() as f:\n"
    program += "    (f / 'x.png').touch()\n    print(f, flush=True)\n    time.sleep(600)\n"
    other = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    theirs = Path(other.stdout.readline().strip())
    try:
        with upload_folder() as mine:
            assert mine.parent == tmp_path and mine != theirs
            assert (theirs / "x.png").exists()
        assert not mine.exists() and os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
    finally:
        other.kill()
        other.wait()
    with upload_folder():
        assert not theirs.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_uploads_go_however_the_block_ends(tmp_path, monkeypatch, error):
    """SIGTERM before the server waits for visitors, a port in use: nothing is left, not even the lock."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with pytest.raises(error), upload_folder() as folder:
        (folder / "x.png").touch()
        raise error
    assert list(tmp_path.iterdir()) == [] and os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)


@pytest.mark.slow
def test_a_server_that_is_terminated_removes_what_was_uploaded(tmp_path):
    port, program = free_port(), "import app, runpy\nimport app.engine\nfrom tests.app.fake_engine import FakeEngine\n"
    program += "app.engine.Engine.from_settings = lambda settings: FakeEngine()\n"
    program += f"import sys; sys.argv = ['app.py', '--port', '{port}']; runpy.run_path('app.py', run_name='__main__')\n"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)}
    server = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_for(url, server)
        assert Path(upload(url, png())["path"]).is_file()
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    finally:
        server.kill()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
