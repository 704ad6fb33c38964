"""The log: visitors who come, go and come again in any order leave no trace of Gradio's own errors in it."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import traceback

import httpx
import pytest
from starlette.routing import Route

from tests.app.fake_engine import FakeEngine
from tests.app.serving import join, messages, served_demo, upload
from tests.app.test_uploads import png

ENDED = "process_completed"


@pytest.fixture(scope="module")
def server():
    engine = FakeEngine(delay=0.1)
    with served_demo(engine) as (demo, url):
        yield engine, demo, url


@pytest.fixture
def asked(server):
    """Ask for a comparison in a session; returns the id of its event."""
    _, demo, url = server
    index = next(index for index, event in demo.fns.items() if event.api_name == "compare")
    data = [upload(url, png()), "What is it?", 60]
    return lambda session: join(url, index, data, session)


@pytest.fixture
def log(server, capfd, caplog):
    """What was printed, and what the server wrote to its log, since it was looked at last; first all work ends."""
    engine, demo, _ = server
    logging.getLogger("uvicorn").addHandler(caplog.handler)  # it hands nothing on to the root

    def is_busy() -> bool:
        """Whether a request is answered, an event waits or runs, or somebody is in the line."""
        queue = demo._queue
        return bool(demo.server.server_state.tasks or len(queue) or any(queue.active_jobs) or engine.line._places)

    def read() -> tuple[str, str]:
        until = time.monotonic() + 20
        while is_busy():
            assert time.monotonic() < until, "the server does not come to rest"
            time.sleep(0.02)
        printed, logged = "".join(capfd.readouterr()), caplog.text
        caplog.clear()
        return printed, logged

    yield read
    logging.getLogger("uvicorn").removeHandler(caplog.handler)


@pytest.fixture(autouse=True)
def the_log_is_clean(server, log):
    yield
    assert httpx.get(server[2]).status_code == 200
    for told in log():
        assert "Traceback" not in told and "KeyError" not in told, told[-3000:]


def test_an_error_would_be_seen(server, log):
    _, demo, url = server

    def fault(request):
        try:
            raise KeyError("printed")
        except KeyError:
            traceback.print_exc()
        raise RuntimeError("logged")

    demo.app.router.routes.insert(0, Route("/fault", fault))
    assert httpx.get(url + "fault").status_code == 500
    printed, logged = log()
    assert "KeyError: 'printed'" in printed and "RuntimeError: logged" in logged


def listening(url, session):
    return httpx.stream("GET", f"{url}gradio_api/queue/data", params={"session_hash": session}, timeout=3)


def first_words(url, session):
    """What the queue says first to whoever listens; "" where it says nothing for a while."""
    with contextlib.suppress(httpx.ReadTimeout), listening(url, session) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                return line
    return ""


def test_who_listens_without_having_asked(server):
    assert json.loads(first_words(server[2], "never asked")[5:])["session_not_found"]


@pytest.mark.slow
def test_who_goes_while_it_runs_and_listens_again(server, asked):
    asked("goes")
    for _ in range(3):
        first_words(server[2], "goes")
        time.sleep(0.1)


@pytest.mark.slow
def test_two_who_listen_to_one_session(server, asked):
    asked("twins")
    url = server[2]
    with listening(url, "twins") as one, listening(url, "twins") as other:
        for stream in (one, other):
            with contextlib.suppress(httpx.HTTPError):
                for _ in stream.iter_lines():
                    pass


def test_who_cancels_twice_and_what_is_over(server, asked):
    url = server[2]
    event = asked("cancels")
    with listening(url, "cancels") as stream:
        next(stream.iter_lines())
        for given in (event, event, "never"):
            body = {"session_hash": "cancels", "fn_index": 0, "event_id": given}
            assert httpx.post(f"{url}gradio_api/cancel", json=body, timeout=10).status_code < 500
    assert httpx.post(f"{url}gradio_api/reset", json={"event_id": event}, timeout=10).status_code < 500


@pytest.mark.slow
def test_who_asks_again_after_they_went(server, asked):
    _, demo, url = server
    asked("returns")
    first_words(url, "returns")
    index = next(index for index, event in demo.fns.items() if event.api_name == "compare")
    event = join(url, index, [upload(url, png()), "What is it?", 60], "returns")
    ended = next(told for told in messages(url, "returns") if (told["msg"], told["event_id"]) == (ENDED, event))
    assert ended["success"]


@pytest.mark.slow
def test_who_asks_and_never_listens(server, asked):
    for _ in range(3):
        asked("silent")


@pytest.mark.slow
def test_who_asks_the_simple_route_for_the_answer_twice(server):
    url = server[2]
    body = {"data": [upload(url, png()), "What is it?", 60]}
    event = httpx.post(f"{url}gradio_api/call/compare", json=body, timeout=10).json()["event_id"]
    where = f"{url}gradio_api/call/compare/{event}"
    assert "event: complete" in httpx.get(where, timeout=20).text
    with contextlib.suppress(httpx.ReadTimeout), httpx.stream("GET", where, timeout=3) as stream:
        next(stream.iter_lines(), None)
