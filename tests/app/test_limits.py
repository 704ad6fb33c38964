"""What the server refuses before anything looks at it; the log stays clean, and the server answers afterwards."""

from __future__ import annotations

import re
import threading
import time
import uuid
from dataclasses import fields
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.door.bodies import body_bytes
from app.settings import Limits
from fitprune_core.evaluation.outcomes import read_results
from tests.app.fake_engine import FakeEngine
from tests.app.pictures import png
from tests.app.serving import call, event_named, messages, served, served_demo, upload

ROOT = Path(__file__).resolve().parents[2]
TIGHT = Limits(
    max_upload_mb=1,
    max_pixels=40_000,
    max_question=20,
    max_seconds=2,
    max_requests=4,
    max_requests_per_address=30,
    max_waiting=2,
    max_waiting_per_address=1,
)


@pytest.fixture(scope="module")
def url():
    with served(FakeEngine()) as address:
        yield address + "gradio_api/"


@pytest.fixture(autouse=True)
def the_server_goes_on(url):
    yield
    assert httpx.get(url.removesuffix("gradio_api/")).status_code == 200


@pytest.mark.parametrize(
    "path", ["file=http://127.0.0.1:1/x.png", "file=https://example.org/x.png", "file/http://x.y/z"]
)
def test_the_server_fetches_nothing_from_the_web(url, path):
    assert httpx.get(url + path, timeout=20).status_code == 403


@pytest.mark.parametrize("announced", [True, False])
def test_a_request_that_is_too_large_is_refused(url, announced):
    def pieces():
        yield b'{"data": ["'
        for _ in range(body_bytes(Limits()) // 2**20 + 1):
            yield b"x" * 2**20
        yield b'"], "fn_index": 0, "session_hash": "large"}'

    content = b"".join(pieces()) if announced else pieces()
    answer = httpx.post(url + "queue/join", content=content, headers={"Content-Type": "application/json"}, timeout=60)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("queue/join", {"data": [], "fn_index": 99_999, "session_hash": "x"}),
        ("queue/join", {"data": [], "fn_index": -1, "session_hash": "x"}),
        ("call/nothing", {"data": []}),
        ("call/v2/nothing", {}),
    ],
)
def test_what_is_not_there_is_no_error_of_the_server(url, capfd, path, body):
    answer = httpx.post(url + path, json=body, timeout=20)
    assert 400 <= answer.status_code < 500
    told = capfd.readouterr()
    assert "KeyError" not in told.err + told.out and "Traceback" not in told.err + told.out


@pytest.fixture
def tight():
    """A server that allows little: its engine, its Blocks and its address."""
    engine = FakeEngine(limits=TIGHT)
    with served_demo(engine) as (demo, address):
        yield engine, demo, address


def picture(size, tmp_path, name="picture.png"):
    Image.new("RGB", size, "teal").save(tmp_path / name)
    return handle_file(str(tmp_path / name))


def refusal(address, *data) -> str:
    """What a client that has asked for nothing yet is told of a comparison."""
    with pytest.raises(AppError) as error:
        Client(address, verbose=False).predict(*data, api_name="/compare")
    return str(error.value)


@pytest.mark.slow
def test_each_limit_is_named_by_the_sentence_that_refuses(tight, tmp_path):
    engine, _, address = tight
    assert "it may have up to 20" in refusal(address, picture((20, 20), tmp_path), "What is it? " * 2, 60)
    assert "up to 40,000 pixels in all" in refusal(address, picture((201, 200), tmp_path), "What?", 60)
    asked = Client(address, verbose=False).predict(picture((200, 200), tmp_path), "What?", 60, api_name="/compare")
    assert asked["model"] == "mini-llava"
    engine.delay = 1.0
    assert "This took longer than 2 s" in refusal(address, picture((20, 20), tmp_path), "What?", 60)


@pytest.mark.slow
def test_requests_are_counted_and_the_others_go_on(tight, tmp_path):
    _, _, address = tight
    mine, yours = Client(address, verbose=False), Client(address, verbose=False)
    given = (picture((20, 20), tmp_path), "What?", 60)
    for _ in range(4):
        mine.predict(*given, api_name="/compare")
    for name, asked in (("/compare", given), ("/sweep", (*given[:2], [60], ["fitprune"]))):
        with pytest.raises(AppError, match="4 requests within a minute, as many as a visitor may"):
            mine.predict(*asked, api_name=name)
    yours.predict(*given, api_name="/compare")


@pytest.mark.slow
def test_who_makes_up_sessions_is_bound_by_his_address(tight):
    engine, demo, address = tight
    index = next(index for index, event in demo.fns.items() if event.api_name == "compare")
    engine.line.allowance._clock = lambda: 0.0
    image = upload(address, png())
    told = [call(address, index, [image, "What?", 60], f"made up {number}") for number in range(30)]
    errors = [each["output"].get("error") for all in told for each in all if each["msg"] == "process_completed"]
    assert errors[:29] == [None] * 29
    assert "From your address came 30 requests within a minute" in errors[29]
    answer = httpx.post(f"{address}gradio_api/upload", files={"files": png()}, timeout=20)
    assert answer.status_code == 429 and "30 requests within a minute" in answer.json()["detail"]


@pytest.mark.slow
@pytest.mark.parametrize(("believed", "refused"), [("127.0.0.1", 0), ("10.0.0.0/8", 5)])
def test_what_a_proxy_says_of_an_address_counts_only_where_it_is_believed(monkeypatch, believed, refused):
    """35 uploads in the name of as many addresses, 30 of which may come from one."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", believed)
    with served(FakeEngine(limits=TIGHT)) as address:
        codes = [
            httpx.post(
                f"{address}gradio_api/upload",
                files={"files": png()},
                headers={"X-Forwarded-For": f"192.0.2.{number}"},
                timeout=20,
            ).status_code
            for number in range(35)
        ]
    assert codes == [200] * (35 - refused) + [429] * refused


@pytest.mark.slow
def test_one_address_does_not_fill_the_queue_of_all(monkeypatch):
    """Events that no allowance counts, from as many sessions as one likes; what was begun goes on to its end."""
    engine, go_on = FakeEngine(limits=TIGHT), threading.Event()
    monkeypatch.setattr("app.background.shown.read_results", lambda path: go_on.wait(60) or read_results(path))
    with served_demo(engine) as (demo, address):
        index, compare = event_named(demo, "open_results"), event_named(demo, "compare")
        body = {"data": [upload(address, b"id\n", "results.csv"), None, None, ""], "fn_index": index}
        picture = {**upload(address, png()), "orig_name": "p.png"}

        def join(**changed):
            where, mine = f"{address}gradio_api/queue/join", {"X-Forwarded-For": changed.pop("of", "192.0.2.1")}
            return httpx.post(
                where, json={**body, "session_hash": uuid.uuid4().hex, **changed}, headers=mine, timeout=20
            )

        told = [join() for _ in range(10)]
        assert [each.status_code for each in told] == [200] * 4 + [429] * 6
        assert told[-1].json()["detail"].startswith("From your address 4 requests are not over yet, as many as may be.")
        assert join(fn_index=compare, data=[picture, "What?", 60]).status_code == 429
        assert join(of="192.0.2.2", fn_index=compare, data=[picture, "What?", 60], session_hash="o").status_code == 200
        ended = [each for each in messages(address, "o") if each["msg"] == "process_completed"]
        assert ended[0]["success"] and join(of="192.0.2.2").status_code == 200
        go_on.set()
        until = time.monotonic() + 30
        while (last := join().status_code) == 429 and time.monotonic() < until:
            time.sleep(0.1)
        assert last == 200


def test_comparisons_that_are_shown_again_are_counted(tight):
    engine, demo, address = tight
    engine.line.allowance._clock = lambda: 0.0
    event = {"text": "{}", "link": "", "picture": ""}
    body = {"data": [None], "fn_index": event_named(demo, "reopen"), "session_hash": "mine", "event_data": event}
    told = [httpx.post(f"{address}gradio_api/run/predict", json=body, timeout=20).text for _ in range(31)]
    assert "no exported comparison" in told[29] and "From your address came 30 requests within a minute" in told[30]


@pytest.mark.slow
def test_an_upload_that_is_too_large_is_refused(tight):
    answer = httpx.post(f"{tight[2]}gradio_api/upload", files={"files": bytes(2**20 + 1)}, timeout=20)
    assert answer.status_code == 413


def test_the_guide_names_every_limit_and_its_default():
    guide = (ROOT / "assets" / "guide" / "server.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--([a-z-]+)` \| ([\d,]+) \|", guide, re.MULTILINE)
    told = {flag.replace("-", "_"): int(value.replace(",", "")) for flag, value in rows}
    assert told == {limit.name: limit.default for limit in fields(Limits)} | {"max_new_tokens": 64}
