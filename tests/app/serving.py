"""Serve the app for a test, on a free port, without blocking; and talk to it as a page does, or as nobody should."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from app.door.uploads import upload_folder
from app.interface import build_demo, launch_options


@contextmanager
def served(engine, **folders) -> Iterator[str]:
    """The address at which the app answers inside the `with` block. folders: of `build_demo`."""
    with served_demo(engine, **folders) as (_, url):
        yield url


@contextmanager
def served_demo(engine, **folders) -> Iterator[tuple[Any, str]]:
    """The app's Blocks, and the address at which it answers inside the `with` block."""
    with upload_folder() as folder:
        demo = build_demo(engine, folder / "runs", **folders)
        try:
            _, url, _ = demo.launch(
                server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, inbrowser=False, **launch_options(engine)
            )
            yield demo, url
        finally:
            demo.close(verbose=False)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(url: str, server: subprocess.Popen, patience: float = 120) -> None:
    """Wait until a server, begun as a program, answers. Raises RuntimeError where it ends, or `patience` does (s)."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode}")
        with suppress(httpx.TransportError):
            httpx.get(url, timeout=5)
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not answer within {patience:.0f} s")


def call(url: str, fn_index: int, data: list, session: str | None = None, patience: float = 60) -> list[dict]:
    """Everything that the queue says to an event, up to its end."""
    session = session or uuid.uuid4().hex
    join(url, fn_index, data, session)
    return list(messages(url, session, patience))


def join(url: str, fn_index: int, data: list, session: str) -> str:
    """Put an event into the queue, as a page does; returns its id."""
    body = {"data": data, "fn_index": fn_index, "session_hash": session, "trigger_id": None}
    answer = httpx.post(f"{url}gradio_api/queue/join", json=body, timeout=60)
    answer.raise_for_status()
    return answer.json()["event_id"]


def messages(url: str, session: str, patience: float = 60) -> Iterator[dict]:
    """What the queue says to a session, until all its events have ended."""
    where = f"{url}gradio_api/queue/data"
    with httpx.stream("GET", where, params={"session_hash": session}, timeout=patience) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line[5:])


def upload(url: str, data: bytes, name: str = "picture.png") -> dict[str, Any]:
    """Upload a file; returns what a page would send for it."""
    files = {"files": (name, data)}
    path = httpx.post(f"{url}gradio_api/upload", files=files, timeout=60).json()[0]
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def event_named(demo: Any, name: str, page: str = "") -> int:
    """The index of the event that a handler of this name answers, on a page whose module has `page` in its name."""
    events = ((index, event.fn) for index, event in demo.fns.items() if event.fn is not None)
    return next(index for index, fn in events if fn.__name__ == name and page in fn.__module__)
