"""/compare and /sweep over HTTP, with gradio_client; bad input of every kind leaves the server running."""

from __future__ import annotations

import json
import os
import re
import time

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.asking.asked import painted
from app.engine import Side, check_ways
from fitprune_core.pruning.paint import Paint
from tests.app.fake_engine import TOKENS, FakeEngine
from tests.app.pictures import bad_files, odd_pictures
from tests.app.serving import join, served, upload

RUN_KEYS = {
    "answer",
    "new_tokens",
    "prefill_ms",
    "decode_ms",
    "visual_gflops",
    "total_gflops",
    "kv_cache_bytes",
}


@pytest.fixture(scope="module")
def engine():
    return FakeEngine(("a red car", "a blue car"))


@pytest.fixture(scope="module")
def url(engine):
    with served(engine) as address:
        yield address


@pytest.fixture
def slow(engine):
    """An engine that takes half a second for each of its six words."""
    engine.delay = 0.5
    yield engine
    engine.delay = 0.0


@pytest.fixture(scope="module")
def client(url):
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return Client(url, verbose=False)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "scene.png"
    Image.new("RGB", (200, 100), "red").save(path)
    return path


def ask(client, picture, question="What is it?", reduction=60):
    return client.predict(handle_file(str(picture)), question, reduction, api_name="/compare")


def refused(client, *arguments) -> str:
    with pytest.raises(Exception) as error:
        ask(client, *arguments)
    return str(error.value)


def test_there_are_two_endpoints_and_they_name_their_inputs(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/compare", "/sweep"]
    names = {
        name: {each["parameter_name"]: each["parameter_has_default"] for each in endpoints[name]["parameters"]}
        for name in endpoints
    }
    asked = {"image": False, "question": False}
    sides = dict.fromkeys(["method", "against", "against_reduction", "stay", "go"], True)
    assert names == {
        "/compare": {**asked, "reduction": False, **sides},
        "/sweep": {**asked, "reductions": False, "methods": True},
    }
    assert all(len(each["returns"]) == 1 for each in endpoints.values())


@pytest.mark.slow
def test_result_holds_what_the_contract_promises(client, picture, engine):
    result = ask(client, picture)
    promised = ["model", "reduction", "achieved_reduction", "removed", "kept", "original", "pruned"]
    assert list(result)[: len(promised)] == promised
    assert result["original"]["answer"] == "a red car" and result["pruned"]["answer"] == "a blue car"
    assert set(result["original"]) >= RUN_KEYS and set(result["pruned"]) >= RUN_KEYS
    assert [TOKENS - len(kept) for kept in result["kept"]][-1] == sum(result["removed"])
    assert engine.asked[-1] == ((200, 100), "What is it?", 60)


def test_any_two_ways_are_compared_and_painted(client, picture, engine):
    sides = {"method": "random:seed=1", "against": "fitprune", "against_reduction": 80, "stay": [7, 3], "go": [200]}
    asked = {"image": handle_file(str(picture)), "question": "What?", "reduction": 20}
    found = client.predict(**asked, **sides, api_name="/compare")
    assert (found["method"], found["reduction"]) == ("random(seed=1)", 0.2)
    assert (found["against"]["method"], found["against"]["reduction"]) == ("fitprune", 0.8)
    assert (found["stay"], found["go"]) == ([3, 7], [200])
    assert engine.sides[-1] == (Side("fitprune", 80), "random:seed=1") and engine.painted[-1] == Paint((3, 7), (200,))


def test_where_only_the_first_way_prunes_it_is_painted(client, picture, engine):
    asked = {"image": handle_file(str(picture)), "question": "What?", "reduction": 60}
    client.predict(**asked, method="original", against="fitprune", go=[5], api_name="/compare")
    assert engine.sides[-1] == (Side("fitprune", 60, Paint(go=(5,))), "original") and not engine.painted[-1]


@pytest.mark.slow
def test_a_caller_who_gives_no_sides_is_answered_as_before(url, picture, engine):
    """By the plain route, where nobody fills in what is left out."""
    data = [upload(url, picture.read_bytes()), "What is it?", 60]
    for name, given in (("compare", data), ("sweep", [*data[:2], [60]])):
        event = httpx.post(f"{url}gradio_api/call/{name}", json={"data": given}, timeout=60).json()["event_id"]
        told = httpx.get(f"{url}gradio_api/call/{name}/{event}", timeout=60).text
        found = json.loads(told.partition("event: complete\ndata: ")[2].splitlines()[0])[0]
        found = found[0] if name == "sweep" else found
        assert (found["method"], found.get("against"), found["reduction"]) == ("fitprune", None, 0.6)
    assert engine.sides[-1] == (Side("original", 60), "fitprune")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sides", "words"),
    [
        ({"method": "no-such-method"}, "no-such-method"),
        ({"against": "fastv:layer=x"}, "whole number from 1 up"),
        ({"against_reduction": 95}, "from 0 to 90, not 95"),
        ({"stay": [1, -1]}, "numbered from 0"),
        ({"stay": "all"}, "Stay is a list of visual tokens by number, not 'all'"),
        ({"go": [0.5]}, "Go is a list of visual tokens"),
        ({"stay": [4], "go": [4]}, "must both stay and go"),
    ],
)
def test_sides_that_cannot_be_are_refused(client, picture, sides, words):
    asked = {"image": handle_file(str(picture)), "question": "What?", "reduction": 60}
    with pytest.raises(AppError, match=re.escape(words)):
        client.predict(**asked, **sides, api_name="/compare")


@pytest.mark.slow
def test_a_sweep_is_a_list_of_comparisons(client, picture):
    methods, percents = ["fitprune", "random:seed=1"], [60, 20]
    found = client.predict(handle_file(str(picture)), "What is it?", percents, methods, api_name="/sweep")
    assert [item["reduction"] for item in found] == [0.6, 0.2, 0.6, 0.2]
    alone = ask(client, picture, reduction=20)
    assert found[1]["kept"] == alone["kept"] and set(found[1]) == set(alone)


def test_a_list_without_end_is_refused_before_it_is_looked_at(monkeypatch):
    monkeypatch.setattr("app.engine.find_method", lambda name: pytest.fail("looked at"))
    with pytest.raises(ValueError, match=r"601 methods are too many; a sweep has up to 60 ways\."):
        check_ways([60], ["fastv"] * 601)
    with pytest.raises(ValueError, match=r"100,001 painted patches are more than a picture has\."):
        painted(list(range(100_001)), [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reductions", "methods", "words"),
    [
        ([], ["fitprune"], "neither of them empty"),
        ([60], [], "neither of them empty"),
        (60, ["fitprune"], "neither of them empty"),
        ([60, 95], ["fitprune"], "95"),
        ([60, "x"], ["fitprune"], "'x'"),
        ([60], ["no-such-method"], "no-such-method"),
        ([60], [7], "by name"),
        (list(range(61)), ["fitprune"], "61 budgets by 1 methods are too many"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(client, picture, reductions, methods, words):
    with pytest.raises(AppError, match=words):
        client.predict(handle_file(str(picture)), "What?", reductions, methods, api_name="/sweep")


@pytest.mark.parametrize("reduction", [-1, 95, "many", None, True])
def test_a_budget_that_cannot_be_is_named(client, picture, reduction):
    message = refused(client, picture, "What is it?", reduction)
    assert "from 0 to 90" in message and repr(reduction) in message


@pytest.mark.slow
def test_nan_is_no_budget(url, client, picture):
    upload = httpx.post(f"{url}gradio_api/upload", files={"files": picture.read_bytes()}, timeout=60).json()[0]
    body = json.dumps({"data": [{"path": upload, "meta": {"_type": "gradio.FileData"}}, "What?", float("nan")]})
    answer = httpx.post(
        f"{url}gradio_api/call/compare", content=body, headers={"Content-Type": "application/json"}, timeout=60
    )
    events = httpx.get(f"{url}gradio_api/call/compare/{answer.json()['event_id']}", timeout=60).text
    assert "event: error" in events and "from 0 to 90" in events
    assert ask(client, picture)["model"] == "mini-llava"


@pytest.mark.parametrize(("question", "words"), [("   ", "empty"), ("x" * 100_000, "100,000 characters")])
def test_a_question_that_cannot_be_is_refused(client, picture, question, words):
    assert words in refused(client, picture, question)


def test_an_image_mark_in_a_question_is_text(client, picture, engine):
    ask(client, picture, "What does <image> mean?")
    assert engine.asked[-1][1] == "What does <image> mean?"


@pytest.mark.slow
def test_files_that_are_no_pictures_are_named_and_the_server_goes_on(client, picture, tmp_path):
    for path in bad_files(tmp_path):
        message = refused(client, path)
        assert path.name in message, message
        assert "Traceback" not in message
    assert ask(client, picture)["model"] == "mini-llava"


@pytest.mark.slow
def test_odd_pictures_are_answered_upright(client, engine, tmp_path):
    for path, size in odd_pictures(tmp_path):
        ask(client, path)
        assert engine.asked[-1][0] == size, path.name


def free(engine, seconds=1.6) -> bool:
    """Whether the line is empty soon: within three words, where a whole answer has six."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not engine.line._places:
            return True
        time.sleep(0.02)
    return False


def begun(engine) -> bool:
    while not engine.working:
        time.sleep(0.02)
    return True


@pytest.mark.slow
def test_a_cancelled_call_ends_at_the_next_token(client, picture, slow):
    job = client.submit(handle_file(str(picture)), "What is it?", 60, api_name="/compare")
    assert begun(slow)
    job.cancel()
    assert free(slow)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["call", "queue"])
def test_an_abandoned_call_ends_at_the_next_token(url, picture, slow, route):
    """Somebody asks, listens, and goes: by the simple route of curl, and by that of the clients."""
    data = [upload(url, picture.read_bytes()), "What is it?", 60]
    if route == "call":
        event = httpx.post(f"{url}gradio_api/call/compare", json={"data": data}, timeout=60).json()["event_id"]
        listen = {"url": f"{url}gradio_api/call/compare/{event}"}
    else:
        config = httpx.get(f"{url}config").json()
        index = next(entry["id"] for entry in config["dependencies"] if entry["api_name"] == "compare")
        join(url, index, data, "abandons")
        listen = {"url": f"{url}gradio_api/queue/data", "params": {"session_hash": "abandons"}}
    with httpx.stream("GET", timeout=60, **listen):
        assert begun(slow)
    assert free(slow)


@pytest.mark.slow
def test_a_second_call_of_one_client_takes_the_place_of_the_first(client, picture, slow):
    first = client.submit(handle_file(str(picture)), "What is first?", 60, api_name="/compare")
    assert begun(slow)
    second = client.submit(handle_file(str(picture)), "What is second?", 60, api_name="/compare")
    with pytest.raises(Exception, match="took its place"):
        first.result(timeout=60)
    assert second.result(timeout=60)["question"] == "What is second?"
    assert slow.most == 1


@pytest.mark.parametrize("api_name", ["/compare", "/sweep"])
def test_a_model_that_fails_is_not_called_the_fault_of_the_caller(client, picture, engine, monkeypatch, api_name):
    """He reads what went wrong, as on the pages, and no folder of the server."""

    def failing(*_, **__):
        raise RuntimeError("the device is gone, see /home/somebody/device.log")
        yield

    monkeypatch.setattr(engine, api_name[1:], failing)
    asked = (handle_file(str(picture)), "What is it?", 60 if api_name == "/compare" else [60])
    with pytest.raises(AppError) as error:
        client.predict(*asked, api_name=api_name)
    assert str(error.value) == "The model failed: The device is gone, see device.log."


@pytest.mark.slow
def test_nobody_is_let_into_a_line_that_is_full(client, picture, slow):
    places = [slow.line.join(str(number)) for number in range(slow.limits.max_waiting + 1)]
    try:
        assert "20 visitors are waiting for the model already" in refused(client, picture)
    finally:
        for place in places:
            slow.line.leave(place)
    slow.delay = 0.0
    assert ask(client, picture)["model"] == "mini-llava"
