"""What a request may hold, and how uploads come in: nobody keeps the server from others with it."""

from __future__ import annotations

import asyncio
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from app.door import uploading
from app.door.bodies import bytes_beside_texts
from app.door.queueing import Turns
from app.settings import Limits
from tests.app.fake_engine import FakeEngine
from tests.app.serving import served, upload


@pytest.fixture(scope="module")
def url():
    with served(FakeEngine()) as address:
        yield address


@pytest.mark.parametrize(
    "entries", [[], {}, ["a, b", {"c[": '\\" \\\\" ,,, "'}], [1, 2.5, None], {"é": "日本\\", "x": ["\n", '"']}, "\\"]
)
def test_what_lies_beside_texts_is_what_is_left_without_them(entries):
    """Counted beside a reader of JSON: texts of any length change nothing."""
    plain = json.dumps(entries, ensure_ascii=False)

    def emptied(entry):
        if isinstance(entry, dict):
            return {str(number): emptied(value) for number, value in enumerate(entry.values())}
        return [emptied(each) for each in entry] if isinstance(entry, list) else "" if isinstance(entry, str) else entry

    # Keys keep their quotes in number, so the rest has as many bytes whatever they are.
    without = json.dumps(emptied(entries))
    texts = sum(len(text) for text in without.split('"')[1::2])
    assert bytes_beside_texts(plain.encode()) == len(without) - texts - without.count('"')


def test_too_many_texts_are_no_texts():
    body = json.dumps([""] * 20_000).encode()
    assert bytes_beside_texts(body) == len(body)


@pytest.mark.parametrize("path", ["run/predict", "queue/join", "call/compare", "mcp"])
def test_a_request_of_too_many_values_is_not_read(url, path):
    body = json.dumps({"data": [[[]] * 100_000], "fn_index": 0, "session_hash": "x"}).encode()
    answer = httpx.post(f"{url}gradio_api/{path}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and "more values" in answer.json()["detail"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_a_request_in_another_encoding_is_not_read(url, encoding):
    body = json.dumps({"data": [], "fn_index": 0}).encode(encoding)
    answer = httpx.post(f"{url}gradio_api/run/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_large_ones_are_counted():
    body = json.dumps({"data": [list(range(9_000))], "fn_index": 10**6, "session_hash": "x"}).encode()
    options = {"content": body, "headers": {"Content-Type": "application/json"}}
    with served(FakeEngine(limits=Limits(max_requests_per_address=3))) as url:
        codes = [httpx.post(f"{url}gradio_api/run/predict", **options).status_code for _ in range(4)]
    assert codes == [404, 404, 404, 429]


def test_requests_of_one_address_take_turns_and_are_not_endless():
    limits = Limits(max_waiting_per_address=1)

    async def crowd() -> tuple[int, int]:
        turns, inside, most, refused = Turns(2, limits), 0, 0, 0

        async def one() -> None:
            nonlocal inside, most, refused
            try:
                turn = turns.of("10.0.0.1")
            except ValueError as error:
                assert "From your address 4 requests" in str(error)
                refused += 1
                return
            async with turn:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1

        await asyncio.gather(*(one() for _ in range(6)), *(asyncio.sleep(0) for _ in range(2)))
        async with turns.of("10.0.0.1"), turns.of("10.0.0.2"), turns.of(""):
            pass
        assert not turns._held
        return most, refused

    assert asyncio.run(crowd()) == (2, 2)


def test_one_upload_brings_few_files(url):
    files = [("files", (f"{number}.txt", b"x")) for number in range(11)]
    answer = httpx.post(f"{url}gradio_api/upload", files=files[:10], timeout=20)
    assert answer.status_code == 200 and len(answer.json()) == 10
    answer = httpx.post(f"{url}gradio_api/upload", files=files, timeout=20)
    assert (answer.status_code, answer.json()["detail"]) == (413, "One request may bring 10 files.")


def half_sent(url: str, size: int) -> socket.socket:
    """A connection that announces an upload of so many bytes, and sends few of them."""
    address = urlsplit(url)
    line = socket.create_connection((address.hostname, address.port), timeout=20)
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
    line.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode())
    return line


def test_an_upload_that_never_ends_is_ended(url, monkeypatch):
    monkeypatch.setattr(uploading, "_SECONDS", 0.3)
    monkeypatch.setattr(uploading, "_SLOWEST", 2**40)
    with half_sent(url, 1000) as line:
        told = b""
        while b"took too long" not in told:
            told += (more := line.recv(1000))
            assert more
    assert told.startswith(b"HTTP/1.1 413")


def test_uploads_that_never_end_take_no_room_from_others():
    """One address is promised room for a few at a time, however many it announces."""
    limits = Limits(max_upload_mb=1, max_stored_mb=20)
    with served(FakeEngine(limits=limits)) as address:
        there = upload(address, b"x" * 1000)
        lines = [half_sent(address, 2 * 2**20) for _ in range(30)]
        try:
            answer = httpx.get(f"{address}gradio_api/file={there['path']}", timeout=20)
            assert answer.status_code == 200
        finally:
            for line in lines:
                line.close()
