"""Tools for agents over MCP: the same results and refusals as over the API, each call a visitor of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import time

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from app.endpoints import agents
from app.engine import Side
from app.settings import Limits
from tests.app.fake_engine import TOKENS, FakeEngine
from tests.app.pictures import data_url, png
from tests.app.serving import served, upload

ASKED = {"image": data_url(png((50, 50))), "question": "What is it?", "reduction": 60}


@pytest.fixture(scope="module")
def engine():
    return FakeEngine(("a red car", "a blue car"))


@pytest.fixture(scope="module")
def url(engine):
    with served(engine) as address:
        yield address


async def session_with(url, what):
    """What `what(session)` returns, for an agent that has just connected."""
    async with streamable_http_client(f"{url}gradio_api/mcp") as (reads, writes, _), ClientSession(reads, writes) as it:
        await it.initialize()
        return await what(it)


def call(url, name, given) -> tuple[bool, str]:
    """Whether a tool was well, and what it said."""
    result = asyncio.run(session_with(url, lambda it: it.call_tool(name, given)))
    (content,) = result.content
    return not result.isError, content.text


def test_an_app_can_be_started_again():
    """Gradio does that where another server took the port in between; this one never came up, and never ended."""
    found = agents.create_agents(FakeEngine())

    async def started():
        async with found.lifespan(None):
            return found.routes[0].endpoint.manager

    assert asyncio.run(started()) is not asyncio.run(started())


def test_the_tools_are_described(url):
    found = asyncio.run(session_with(url, lambda it: it.list_tools())).tools
    assert [tool.name for tool in found] == ["compare", "sweep"]
    for tool in found:
        assert len(tool.description) > 100 and "FLOPs" in tool.description
        assert all(entry["description"] for entry in tool.inputSchema["properties"].values())
    asked, (compare, sweep) = {"image", "question"}, (set(tool.inputSchema["required"]) for tool in found)
    assert compare == asked | {"reduction"} and sweep == asked | {"reductions"}
    sides = {"method", "against", "against_reduction", "stay", "go"}
    assert set(found[0].inputSchema["properties"]) - compare == sides


def test_an_agent_learns_what_the_api_says_but_for_single_tokens(url, engine):
    is_well, text = call(url, "compare", ASKED)
    found = json.loads(text)
    assert is_well and len(text) < 5_000
    assert (found["original"]["answer"], found["pruned"]["answer"]) == ("a red car", "a blue car")
    removed = engine.recipe_for(60).removed
    assert found["tokens_left"] == [TOKENS - sum(removed[: layer + 1]) for layer in range(len(removed))]
    assert max(len(value) for value in found.values() if isinstance(value, list)) < TOKENS
    assert engine.asked[-1] == ((50, 50), "What is it?", 60)


def test_a_sweep_has_every_way_and_fitprune_where_none_is_named(url):
    given = {"image": ASKED["image"], "question": "What?", "reductions": [60, 20]}
    found = json.loads(call(url, "sweep", {**given, "methods": ["fitprune", "random:seed=1"]})[1])
    assert [each["reduction"] for each in found] == [0.6, 0.2, 0.6, 0.2]
    assert len(json.loads(call(url, "sweep", given)[1])) == 2


def test_an_agent_may_choose_both_sides_and_paint(url, engine):
    sides = {"method": "random:seed=1", "against": "fitprune", "against_reduction": 80, "stay": [7], "go": [9]}
    is_well, text = call(url, "compare", {**ASKED, **sides})
    found = json.loads(text)
    assert is_well and (found["method"], found["stay"], found["go"]) == ("random(seed=1)", [7], [9])
    assert engine.sides[-1] == (Side("fitprune", 80), "random:seed=1")
    assert found["against"]["tokens_left"][-1] < found["tokens_left"][-1] and len(text) < 8_000


def test_an_upload_may_be_named_by_its_path_or_by_its_address(url, engine):
    path = upload(url, png((70, 30)))["path"]
    for name in (path, f"{url}gradio_api/file={path}", f"https://elsewhere.example/gradio_api/file={path}"):
        assert call(url, "compare", {**ASKED, "image": name})[0]
        assert engine.asked[-1][0] == (70, 30)


MARKED = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("compare", {"image": "/etc/passwd"}, "This picture cannot be opened"),
        ("compare", {"image": "https://example.org/x.png"}, "This picture cannot be opened"),
        ("compare", {"image": "http://127.0.0.1/gradio_api/file=/etc/passwd"}, "This picture cannot be opened"),
        ("compare", {"image": "data:image/png;base64,@"}, "This picture cannot be opened"),
        ("compare", {"image": "data:,no picture"}, "is not a picture"),
        ("compare", {"image": None}, "This picture cannot be opened"),
        ("compare", {"image": MARKED}, "This picture cannot be opened"),
        ("compare", {"question": MARKED}, "must be a text"),
        ("compare", {"question": " "}, "question is empty"),
        ("compare", {"reduction": 99}, "from 0 to 90"),
        ("compare", {"reduction": MARKED}, "from 0 to 90"),
        ("compare", {"method": MARKED}, "by name"),
        ("compare", {"stay": MARKED}, "Stay is a list of visual tokens"),
        ("compare", {"against_reduction": MARKED}, "from 0 to 90"),
        ("sweep", {"reductions": MARKED}, "a list of budgets"),
        ("sweep", {"reductions": [60], "methods": [MARKED]}, "by name"),
        ("sweep", {"reductions": [60], "methods": ["none such"]}, "none such"),
        ("erase", {}, "There is no tool 'erase' here"),
    ],
)
def test_refusals_are_sentences(url, name, given, words):
    is_well, text = call(url, name, {**ASKED, **given})
    assert not is_well and words in text and "Traceback" not in text and text.endswith(".")


@pytest.mark.slow
def test_agents_wait_for_each_other_and_none_takes_the_place_of_another(url, engine):
    async def three():
        async def ask(number):
            return await session_with(
                url, lambda it: it.call_tool("compare", {**ASKED, "question": f"Is it {number}?"})
            )

        return await asyncio.gather(*map(ask, range(3)))

    engine.delay, engine.most = 0.1, 0
    try:
        results = asyncio.run(three())
    finally:
        engine.delay = 0.0
    assert [json.loads(result.content[0].text)["question"] for result in results] == [f"Is it {n}?" for n in range(3)]
    assert engine.most == 1


@pytest.mark.slow
def test_the_call_of_an_agent_that_has_gone_ends(url, engine):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "compare", "arguments": ASKED}}
    engine.delay = 0.7  # a whole answer has six words
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{url}gradio_api/mcp",
                json=body,
                headers={"Accept": "application/json, text/event-stream"},
                timeout=httpx.Timeout(0.3),
            )
        until = time.monotonic() + 2.5
        while engine.line._places and time.monotonic() < until:
            time.sleep(0.02)
        assert engine.line._places == []
    finally:
        engine.delay = 0.0


@pytest.mark.slow
def test_agents_have_the_limits_of_their_address(tmp_path):
    with served(FakeEngine(limits=Limits(max_requests_per_address=2, max_requests=1))) as url:
        told = [call(url, "compare", ASKED) for _ in range(3)]
    assert [is_well for is_well, _ in told] == [True, True, False]
    assert "From your address came 2 requests within a minute" in told[2][1]


def test_a_call_that_is_too_large_is_refused(url):
    large = httpx.post(f"{url}gradio_api/mcp", content=b" " * (23 * 2**20), timeout=60)
    assert large.status_code == 413


def test_without_the_package_there_are_no_tools_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert agents.create_agents(FakeEngine()).routes == []
    assert "pip install mcp" in caplog.text
