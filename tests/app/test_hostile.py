"""Hundreds of inputs that no page sends, to events, endpoints, agents' tools and raw routes of a server.

Each is answered within seconds by the right answer or by a refusal, never with a path of the server, a trace, or what
lies in a file that was not uploaded; and the server answers afterwards.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import tempfile
import time
import uuid
from urllib.parse import quote, urlsplit

import httpx
import pytest
from PIL import Image

from tests.app.fake_engine import FakeEngine
from tests.app.pictures import png
from tests.app.serving import messages, served_demo, upload
from tests.marks import slow

PATIENCE = 20.0  # seconds; an answer takes milliseconds
SECRET = "the-secret-of-somebody-else"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server():
    """The Blocks and the address of a server that works, before and after all that it is sent."""
    with served_demo(FakeEngine(("a red car", "a blue car"))) as (demo, url):
        assert_works(demo, url)
        yield demo, url
        assert_works(demo, url)


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A file of this machine that nobody uploaded; its name says what it is, too."""
    path = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    image = Image.new("RGB", (12, 12), "gold")
    image.info["Comment"] = SECRET
    image.save(path)
    path.with_name("secret.txt").write_text(SECRET)
    return path


def event_of(demo, name: str) -> int:
    return next(index for index, event in demo.fns.items() if event.api_name == name)


def assert_works(demo, url) -> None:
    ended, told = ask(url, event_of(demo, "compare"), [upload(url, png()), "What is it?", 60])
    assert ended == "answered", told


# What no answer holds: a trace, the machine's folders, what lies in files of others.
_LEAKS = re.compile(rf"Traceback|File \"|site-packages|/(tmp|root|home|work|usr|etc)/|root:x:0|{SECRET}|\.py\b")


def assert_clean(text: str) -> None:
    found = _LEAKS.search(text)
    assert found is None, text[max(found.start() - 80, 0) : found.end() + 80]


def ask(url: str, index: int, data: list, event: object = None) -> tuple[str, str]:
    """How an event ended: "answered", or "refused" with what was said, or "turned away" at the door."""
    session = uuid.uuid4().hex
    body = json.dumps({"data": data, "fn_index": index, "session_hash": session, "event_data": event})
    joined = httpx.post(f"{url}gradio_api/queue/join", content=body, headers=JSON, timeout=PATIENCE)
    if joined.status_code != 200:
        assert 400 <= joined.status_code < 500
        return "turned away", joined.text
    for message in messages(url, session, PATIENCE):
        if message["msg"] == "process_completed":
            return ("answered", "") if message["success"] else ("refused", message["output"].get("error") or "")
    raise AssertionError("the event never ended")


def nested(depth: int, leaf: object = None) -> list:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def hostile_values(secret) -> list:
    mark = {"meta": {"_type": "gradio.FileData"}}
    return [
        None, "", " ", "x", "x" * 200_000, "<script>alert(1)</script>", "${7*7}{{7*7}}`'\"", "\ud800", "\0\x1b[31m",
        "../" * 12 + "etc/passwd", "/etc/passwd", str(secret), "file:///etc/passwd", "javascript:alert(1)",
        "=HYPERLINK(1)", "'; DROP TABLE records; --", "\u202egnp.exe", "𝔘" * 3000, "-1", "NaN",
        0, -1, 1.5, 2**63, 10**400, 1e308, float("nan"), float("inf"), -float("inf"), True, False,
        [], {}, nested(200), nested(30, {"path": str(secret)}), [None] * 1000, [[1, 2], [3]], ["fitprune"] * 100,
        ["no such"], [60] * 100, [float("nan")], [True], {"a": 1}, {"index": "x"},
        {"path": str(secret)}, {"path": str(secret), **mark}, {"path": "/dev/zero", **mark}, {"path": 5, **mark},
        {"path": ["a"], **mark}, {"path": "http://169.254.169.254/latest/meta-data", **mark},
        {"path": "\0", **mark}, {"path": "", "url": ""}, {"url": "http://127.0.0.1:1/x.png", **mark},
        {"url": "file:///etc/passwd"}, {"url": "data:text/html,<b>"}, {"url": "data:image/png;base64,@@"},
        {"url": ["data:"]}, {"path": None, "url": None, "orig_name": "../../x"},
        {"__type__": "update", "value": str(secret)},
        {"video": {"path": str(secret)}}, {"path": str(secret), "is_stream": True},
    ]  # fmt: skip


EVENT_DATA = [
    None, {}, [], "x", 5, {"index": -1}, {"index": 10**6}, {"index": "x"}, {"index": [0]}, {"index": True},
    {"index": 0, "side": 10**9}, {"percent": "x"}, {"percent": -5}, {"ending": "../../x", "layer": 1},
    {"ending": ".html", "layer": float("nan")}, {"value": {"path": "/etc/passwd"}},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_events_of_all_pages(server, secret, seed):
    """Each event with hostile values in all places, others for each seed."""
    demo, url = server
    rng, values = random.Random(seed), hostile_values(secret)
    for index, event in demo.fns.items():
        if event.fn is None:
            continue
        began = time.monotonic()
        how, told = ask(url, index, [rng.choice(values) for _ in event.inputs], rng.choice(EVENT_DATA))
        assert time.monotonic() - began < PATIENCE
        assert_clean(told)
        assert how != "refused" or told.rstrip().endswith((".", "]", "'")), told


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_each_value_in_each_place_of_the_endpoints(server, secret, share):
    """The rest of the request is right, so that what is looked at last is reached as well."""
    demo, url = server
    good = upload(url, png())
    sides = ["random", "fitprune", 80, [3], [4]]
    rights = {"compare": [good, "What is it?", 60, *sides], "sweep": [good, "What is it?", [60], ["fitprune"]]}
    cases = [(name, at, each) for name in rights for at in range(len(rights[name])) for each in hostile_values(secret)]
    refused = 0
    for name, at, value in random.Random(0).sample(cases, round(share * len(cases))):
        right = rights[name]
        how, told = ask(url, event_of(demo, name), [*right[:at], value, *right[at + 1 :]])
        # A refusal may say what it was sent, but nothing else about files.
        assert_clean(told.replace("etc/passwd", "").replace(repr(str(secret)), ""))
        assert how == "answered" or len(told) > 20, (name, at, str(value)[:50], told)
        refused += how != "answered"
    assert refused > 0.7 * share * len(cases)


NAMES = [
    "../../escaped.png", "/etc/escaped.png", "..\\..\\escaped.png", "a\0b.png", "con.png", ".htaccess",
    "x" * 400 + ".png", "<img src=x onerror=alert(1)>.png", "${x}.png", "; rm -rf ~.png", "\u202egnp.exe",
    "", ".", "..", "a/b/c.png",
    "name\r\nX-Injected: 1.png", "%2e%2e%2fescaped.png", "picture.png.html", "💥.png", "a:b.png",
]  # fmt: skip


@pytest.mark.parametrize("name", [*NAMES[:4], *slow(*NAMES[4:])])
def test_uploads_with_odd_names(server, name):
    """What is stored is the picture that was sent, opened by the path that was given for it; or it is refused."""
    demo, url = server
    answer = httpx.post(f"{url}gradio_api/upload", files={"files": (name or "x", png((31, 17)))}, timeout=PATIENCE)
    assert answer.status_code < 500
    assert "x-injected" not in answer.headers
    if answer.status_code == 200:
        (path,) = answer.json()
        how, told = ask(url, event_of(demo, "compare"), [{"path": path}, "What is it?", 60])
        assert how == "answered", told
        served = httpx.get(f"{url}gradio_api/file={quote(path)}", timeout=PATIENCE)
        assert served.status_code == 200 and "html" not in served.headers["content-type"]


@pytest.mark.parametrize("route", ["process_recording", "component_server"])
def test_no_other_route_takes_files(server, monkeypatch, tmp_path, route):
    """Whole forms, as their handlers read them: what these store no limit counts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files, fields = {"video": ("v.mp4", b"v" * 2**21)}, {"session_hash": "made up", "component_id": 1, "fn_name": "x"}
    answer = httpx.post(f"{server[1]}gradio_api/{route}", files=files, data=fields, timeout=PATIENCE)
    assert answer.status_code == 404 and answer.json()["detail"] == "There is no such thing here."
    assert not any(tmp_path.iterdir()) and "made up" not in server[0].app.state_holder


def raw(url: str, method: str, path: str, body: bytes = b"", headers: dict | None = None) -> tuple[int, str]:
    """Send a request whose path nobody tidies up; returns the status and the text."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read(2**20).decode("utf-8", "replace")
    finally:
        connection.close()


PLACES = [
    "/gradio_api/file=", "/gradio_api/file/", "/gradio_api/proxy=", "/static/", "/assets/", "/svelte/", "/file=", "/",
    "/gradio_api/custom_component/1/client/component/", "/monitoring/", "/gradio_api/stream/a/b/", "/pwa_icon/",
    "/gradio_api/mcp/", "/gradio_api/run-history/records/",
]  # fmt: skip


def targets(secret) -> list[str]:
    path, climbing = str(secret.with_name("secret.txt")), "../" * 14
    return [
        path, climbing + path[1:], quote(climbing + path[1:], safe=""), quote(quote(path, safe=""), safe=""),
        "//" + path, "..%5c" * 14 + path[1:], "%00" + path, path + "%00.png", "....//" * 14 + path[1:],
        "http://127.0.0.1:1/", "https://huggingface.co/", "file://" + path, "/etc/passwd", "/proc/self/environ",
        "..;/" + path, "~/.ssh/id_rsa", "x" * 9_000,
    ]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_files_of_others_by_every_route(server, secret, place):
    """14 routes by 17 ways to name what was never uploaded."""
    for target in targets(secret):
        status, text = raw(server[1], "GET", place + target)
        assert status < 500, (target[:60], status, text[:200])
        assert SECRET not in text and "root:x:0" not in text and "Traceback" not in text, target
        assert "PATH=" not in text


ROUTES = [
    ("POST", "/gradio_api/queue/join", b"not json", JSON),
    ("POST", "/gradio_api/queue/join", b"[1, 2]", JSON),
    ("POST", "/gradio_api/queue/join", b"{}", JSON),
    ("POST", "/gradio_api/queue/join", b'{"data": null, "fn_index": "x", "session_hash": 5}', JSON),
    ("POST", "/gradio_api/queue/join", b"[" * 100_000, JSON),
    ("POST", "/gradio_api/queue/join", b'{"a":' * 50_000, JSON),
    ("POST", "/gradio_api/queue/join", b"\xff\xfe\x00", JSON),
    ("POST", "/gradio_api/queue/join", b"x", {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
    ("POST", "/gradio_api/queue/join", b"{}", {"Content-Type": "multipart/form-data"}),
    ("POST", "/gradio_api/call/compare", b'{"data": "x"}', JSON),
    ("POST", "/gradio_api/call/compare", b'{"data": [1, 2, 3, 4, 5, 6]}', JSON),
    ("POST", "/gradio_api/call/..%2f..%2fcompare", b'{"data": []}', JSON),
    ("POST", "/gradio_api/call/v2/compare", b'{"image": "/etc/passwd"}', JSON),
    ("POST", "/gradio_api/run/compare", b'{"data": [null, "x", 60]}', JSON),
    ("POST", "/gradio_api/api/compare", b'{"data": [null, "x", 60]}', JSON),
    ("POST", "/gradio_api/run/predict", b'{"data": [], "fn_index": 999999}', JSON),
    ("POST", "/gradio_api/reset", b'{"event_id": "../x"}', JSON),
    ("POST", "/gradio_api/cancel", b'{"session_hash": "x", "fn_index": 1, "event_id": "y"}', JSON),
    ("POST", "/gradio_api/cancel", b"{}", JSON),
    ("POST", "/gradio_api/component_server", b'{"data": "x", "component_id": 1, "fn_name": "__class__"}', JSON),
    ("POST", "/gradio_api/component_server", b'{"data": ["/etc"], "component_id": 99999, "fn_name": "ls"}', JSON),
    ("POST", "/gradio_api/component_server", b"{}", JSON),
    ("POST", "/gradio_api/upload", b"", {"Content-Type": "multipart/form-data; boundary=x"}),
    ("POST", "/gradio_api/upload", b"--x\r\nbroken", {"Content-Type": "multipart/form-data; boundary=x"}),
    ("POST", "/gradio_api/upload", b"x", {"Content-Type": "multipart/form-data"}),
    ("POST", "/gradio_api/upload", b"x", {"Content-Type": "text/plain"}),
    ("POST", "/gradio_api/upload?upload_id=..%2f..%2fx", b"", {"Content-Type": "multipart/form-data; boundary=x"}),
    ("GET", "/gradio_api/upload_progress?upload_id=nobody", b"", {}),
    ("POST", "/gradio_api/process_recording", b"x", {}),
    ("POST", "/gradio_api/vibe-edit", b'{"prompt": "delete everything"}', JSON),
    ("GET", "/gradio_api/vibe-code/", b"", {}),
    ("POST", "/gradio_api/mcp", b"not json", JSON),
    ("POST", "/gradio_api/mcp", b"[" * 10_000, {**JSON, "Accept": "application/json, text/event-stream"}),
    ("POST", "/gradio_api/mcp", b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}', {**JSON, "Accept": "*/*"}),
    ("DELETE", "/gradio_api/mcp", b"", {}),
    ("GET", "/gradio_api/deep_link?session_hash=..%2f..%2fx", b"", {}),
    ("GET", "/?deep_link=..%2f..%2f..%2fetc%2fpasswd", b"", {}),
    ("GET", "/?view=api&__theme=%3Cscript%3Ealert(1)%3C/script%3E", b"", {}),
    ("GET", "/?example=-1&question=%3Cscript%3E&budget=NaN", b"", {}),
    ("GET", "/config?__proto__=x", b"", {}),
    ("GET", "/gradio_api/info?all_endpoints=true", b"", {}),
    ("GET", "/gradio_api/openapi.json", b"", {}),
    ("GET", "/gradio_api/heartbeat/..%2f..%2fx/x", b"", {}),
    ("GET", "/gradio_api/dev/reload", b"", {}),
    ("GET", "/gradio_api/queue/status", b"", {}),
    ("GET", "/gradio_api/runs", b"", {}),
    ("GET", "/monitoring", b"", {}),
    ("GET", "/monitoring/summary", b"", {}),
    ("GET", "/gradio_api/token", b"", {}),
    ("POST", "/login", b"username=a&password=b", {"Content-Type": "application/x-www-form-urlencoded"}),
    ("TRACE", "/", b"", {}),
    ("PUT", "/gradio_api/file=/tmp/x", b"x", {}),
    ("GET", "/", b"", {"Host": "evil.example"}),
    ("GET", "/", b"", {"X-Forwarded-Host": "evil.example\"><script>alert(1)</script>"}),
    ("GET", "/config", b"", {"X-Forwarded-Proto": "javascript", "X-Forwarded-Prefix": "/../../etc"}),
    ("GET", "/", b"", {"X-Original-URL": "/etc/passwd", "X-Rewrite-URL": "/etc/passwd"}),
    ("GET", "/", b"", {"Cookie": "x" * 30_000}),
    ("GET", "/", b"", {"X-Forwarded-For": "1.2.3.4, " * 2_000}),
    ("GET", "/", b"", {"Range": "bytes=0-18446744073709551616"}),
    ("GET", "/", b"", {"Accept-Language": "../../etc", "Referer": "file:///etc/passwd"}),
    ("POST", "/gradio_api/queue/join", b"{}", {**JSON, "Origin": "https://evil.example"}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(ROUTES)))
def test_raw_routes(server, number):
    method, path, body, headers = ROUTES[number]
    status, text = raw(server[1], method, path, body, headers)
    assert status < 500 or '"jsonrpc"' in text, text[:300]
    assert "Traceback" not in text and "root:x:0" not in text and "<script>alert(1)" not in text
    if status >= 400:
        assert_clean(text)
