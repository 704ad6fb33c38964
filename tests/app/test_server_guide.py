"""What the guide says of a server holds: its Python runs, agents find their address, replicas need what it says."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import httpx
import pytest

from app.interface import build_demo
from tests.app.fake_engine import FakeEngine
from tests.app.serving import served, upload

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "assets" / "guide" / "server.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:7860"
PICTURE = ROOT / "assets" / "examples" / "sign.png"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def run(code, url, monkeypatch, capsys) -> list[str]:
    """The lines that the guide's Python prints, of the server at `url`."""
    monkeypatch.chdir(ROOT)
    assert HERE in code
    exec(compile(code.replace(HERE, url.rstrip("/")), "server.md", "exec"), {"__name__": "guide"})
    return capsys.readouterr().out.splitlines()


@pytest.fixture(scope="module")
def url():
    with served(FakeEngine(("a red car", "a blue car"))) as address:
        yield address


def test_its_python_runs(url, monkeypatch, capsys):
    said, saved, sides, *swept = run(blocks("python")[0], url, monkeypatch, capsys)[-7:]
    assert said == "a red car | a blue car"
    achieved = FakeEngine().recipe_for(60).achieved_reduction
    assert saved == f"{achieved:.1%} of visual FLOPs saved"
    assert sides == "random(seed=1) | fitprune with [88, 89] kept"
    assert [line.split(" ", 2)[1:] for line in swept] == 2 * [["0.4", "a red car"], ["0.8", "a blue car"]]


def ask_once(address: str, image: str) -> dict:
    """One request for a tool, as if another replica had had all before it."""
    arguments = {"image": image, "question": "What is it?", "reduction": 60}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "compare", "arguments": arguments}}
    answer = httpx.post(address, json=body, headers={"Accept": "application/json, text/event-stream"}, timeout=60)
    return answer.json()["result"]


def test_its_address_for_agents_answers_in_one_request(url):
    address = json.loads(blocks("json")[0])["mcpServers"]["fitprune"]["url"].replace(f"{HERE}/", url)
    image = "data:image/png;base64," + base64.b64encode(PICTURE.read_bytes()).decode()
    result = ask_once(address, image)
    assert not result["isError"] and json.loads(result["content"][0]["text"])["original"]["answer"] == "a red car"


def test_a_script_asks_in_one_request(url, monkeypatch, capsys):
    _, once = blocks("python")
    assert once.count("httpx.") == 1 and "gradio_client" not in once
    assert run(once, url, monkeypatch, capsys) == ["a red car | a blue car"]


def test_an_upload_is_that_of_one_server(url, tmp_path, monkeypatch):
    """Two servers on one machine, each with a folder of its own: neither opens what the other was given."""
    path = upload(url, PICTURE.read_bytes())["path"]
    assert not ask_once(f"{url}gradio_api/mcp", path)["isError"]
    with served(FakeEngine()) as other:
        refused = ask_once(f"{other}gradio_api/mcp", path)
    assert refused["isError"] and "cannot be opened" in refused["content"][0]["text"]


def test_a_link_holds_everything_that_a_page_begins_with(tmp_path):
    """Two servers that know nothing of each other set up the same comparison from one address."""
    begun = []
    for number in range(2):
        demo = build_demo(FakeEngine(), tmp_path / str(number))
        (arrive,) = [event.fn for event in demo.fns.values() if getattr(event.fn, "__name__", "") == "arrive"]
        begun.append(arrive(Request({"scene": "7", "question": "What is it?", "budget": "40"})))
    texts = [sorted(str(value) for value in each.values() if isinstance(value, str | int | float)) for each in begun]
    assert texts[0] == texts[1] and {"What is it?", "40.0"} <= set(texts[0])


class Request:
    session_hash = "arrives"

    def __init__(self, query_params):
        self.query_params = query_params
