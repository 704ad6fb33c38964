"""What a server keeps of its callers does not grow with what they send."""

from __future__ import annotations

import gc

import httpx
import pytest

from app.interface import launch_options
from tests.app.fake_engine import FakeEngine
from tests.app.pictures import data_url, png
from tests.app.serving import call, served_demo, upload
from tests.app.test_hostile import event_of

SIZE = 900_000


def kept_texts() -> int:
    """How many dictionaries of this process hold the text of a large picture."""
    gc.collect()
    found = (entry.get("url") for entry in gc.get_objects() if type(entry) is dict)
    return sum(isinstance(text, str) and len(text) > SIZE for text in found)


@pytest.mark.slow
def test_pictures_of_past_callers_are_not_kept():
    picture = data_url(bytes(SIZE))
    with served_demo(FakeEngine()) as (_, url), httpx.Client(timeout=60) as client:
        for percent in (99, 60):
            begun = client.post(f"{url}gradio_api/call/compare", json={"data": [{"url": picture}, "What?", percent]})
            assert "error" in client.get(f"{url}gradio_api/call/compare/{begun.json()['event_id']}").text
        assert kept_texts() == 0


@pytest.mark.slow
def test_sessions_are_bounded_and_hold_no_copy_of_the_page():
    with served_demo(FakeEngine()) as (demo, url):
        image = upload(url, png())
        for number in range(3):
            call(url, event_of(demo, "compare"), [image, "What?", 60], f"visitor {number}")
        sessions = demo.state_holder.session_data
        assert {f"visitor {number}" for number in range(3)} <= set(sessions)
        assert all(len(state.config_values) == 0 for state in sessions.values())
    assert launch_options(FakeEngine())["state_session_capacity"] <= 1_000
