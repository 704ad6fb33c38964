"""What the server keeps for a visitor's session, and what keeping it costs everybody else."""

from __future__ import annotations

import json

import gradio.utils
import httpx
import pytest

from app.asking.sides import Sides
from app.parts.sides import Chosen
from tests.app.fake_engine import FakeEngine, Shape
from tests.app.pictures import png
from tests.app.serving import call, event_named, served_demo, upload

LLAVA = Shape(layers=32, grid=24)
ANSWER = "a red car that stands in front of a house"


@pytest.mark.slow
def test_a_comparison_that_is_shown_costs_the_next_run_nothing(monkeypatch):
    """Gradio hashes states that somebody listens to at each step of an event, on the loop that serves everybody."""
    engine, hashed, one = FakeEngine((ANSWER, ANSWER), delay=0.07, shape=LLAVA), [], gradio.utils.deep_hash
    monkeypatch.setattr(gradio.utils, "deep_hash", lambda value: hashed.append(0) or one(value))
    with served_demo(engine) as (demo, url):
        data = [upload(url, png()), "What?", 60, None, None, Chosen.of(Sides()).model_dump(), None]
        for _ in range(2):
            hashed.clear()
            told = call(url, event_named(demo, "run", "compare"), data, "visitor")
            steps = sum(each["msg"] == "process_generating" for each in told)
            assert steps > 10 and told[-2]["success"]
            # Before and after each step; of one comparison there would be 50,000.
            assert len(hashed) <= 2 * (steps + 3)


@pytest.fixture(scope="module")
def server():
    """The Blocks and the address of a server."""
    with served_demo(FakeEngine()) as served:
        yield served


@pytest.mark.parametrize("route", ["run/predict", "api/predict/", "queue/join"])
def test_a_session_has_a_short_name(server, route):
    """Of any length it would be kept, and a new one made up with each request."""
    demo, url = server
    asked = {"data": [], "fn_index": event_named(demo, "run" if route == "queue/join" else "stop", "compare")}
    names = ("x" * 64, "y" * 65, "z" * 10**6)
    bodies = [json.dumps({**asked, "session_hash": name}) for name in names]
    bodies.append(bodies[-1].replace("session_hash", r"session\u005fhash"))
    types = [{"Content-Type": kind} for kind in ("application/json", "application/x+json")]
    answers = [
        httpx.post(f"{url}gradio_api/{route}", content=body, headers=headers, timeout=20)
        for body in bodies
        for headers in types
    ]
    assert [answer.status_code for answer in answers] == [200] * 2 + [400] * 6
    assert answers[-1].json()["detail"] == "The name of this session has 1,000,000 characters; it may have up to 64."
    kept = (demo.app.state_holder.session_data, demo._queue.pending_event_ids_session)
    assert names[0] in kept[0] or names[0] in kept[1]
    assert max(len(name) for name in {*kept[0], *kept[1]}) <= 64
