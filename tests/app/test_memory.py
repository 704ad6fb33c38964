"""What a server keeps of its callers does not grow with what they send."""

from __future__ import annotations

import gc

import httpx
import pytest
from gradio.state_holder import SessionState

from tests.app.fake_engine import FakeEngine
from tests.app.pictures import data_url, png
from tests.app.serving import call, served_demo, upload
from tests.app.test_hostile import event_of

SIZE = 900_000


def kept_texts(but: str) -> int:
    """How many texts of a large picture are in this process, beside one."""
    gc.collect()
    found = set()
    for holder in gc.get_objects():
        for each in gc.get_referents(holder):
            # The collector does not list what holds nothing but texts.
            inside = gc.get_referents(each) if type(each) in (dict, tuple) and not gc.is_tracked(each) else [each]
            found.update(id(text) for text in inside if type(text) is str and len(text) > SIZE and text is not but)
    return len(found)


@pytest.mark.slow
def test_pictures_of_past_callers_are_not_kept():
    picture = data_url(bytes(SIZE))
    with served_demo(FakeEngine()) as (_, url), httpx.Client(timeout=60) as client:
        for percent in (99, 60, 99, 60):
            begun = client.post(f"{url}gradio_api/call/compare", json={"data": [{"url": picture}, "What?", percent]})
            assert "error" in client.get(f"{url}gradio_api/call/compare/{begun.json()['event_id']}").text
        # Gradio's loop remembers the event that it began last, until the next.
        assert (kept := kept_texts(but=picture)) <= 1
        planted = [{"url": data_url(bytes(SIZE))}]  # as a server that kept it would
        assert kept_texts(but=picture) == kept + 1 and planted


def kept_settings() -> int:
    """How many descriptions of a component, as Gradio sends them to a page, are in this process."""
    gc.collect()
    return sum(type(entry) is dict and "props" in entry for entry in gc.get_objects())


@pytest.mark.slow
def test_sessions_are_bounded_and_hold_no_copy_of_the_page():
    with served_demo(FakeEngine()) as (demo, url):
        image, before = upload(url, png()), kept_settings()
        for number in range(3):
            call(url, event_of(demo, "compare"), [image, "What?", 60], f"visitor {number}")
        assert {f"visitor {number}" for number in range(3)} <= set(demo.state_holder.session_data)
        after = kept_settings()
        assert after - before < len(demo.blocks) / 2
        planted = SessionState(demo)  # as Gradio makes it
        assert kept_settings() - after > len(demo.blocks) / 2 and planted
        assert demo.state_holder.capacity <= 1_000
