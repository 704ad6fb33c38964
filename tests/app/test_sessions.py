"""What the server keeps for a visitor's session, and what keeping it costs everybody else."""

from __future__ import annotations

import gradio.utils
import pytest

from app.parts.sides import Chosen
from app.sides import Sides
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
        data = [upload(url, png()), "What?", 60, None, None, Chosen.of(Sides()).model_dump()]
        for _ in range(2):
            hashed.clear()
            told = call(url, event_named(demo, "run", "compare"), data, "visitor")
            steps = sum(each["msg"] == "process_generating" for each in told)
            assert steps > 10 and told[-2]["success"]
            # Before and after each step; of one comparison there would be 50,000.
            assert len(hashed) <= 2 * (steps + 3)
