"""What the server refuses before anything looks at it; the log stays clean, and the server answers afterwards."""

from __future__ import annotations

import httpx
import pytest

from app.limits import MAX_BODY_BYTES
from tests.app.fake_engine import FakeEngine
from tests.app.serving import served


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
        for _ in range(MAX_BODY_BYTES // 2**20 + 1):
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
