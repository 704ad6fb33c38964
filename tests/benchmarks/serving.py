"""The app as a program of its own, for measurements: started, waited for, and ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 120.0  # seconds until it answers


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def running(
    *flags: str,
    program: Sequence[str] = ("app.py",),
    environment: Mapping[str, str] | None = None,
    log: int | IO[Any] | None = subprocess.DEVNULL,
) -> Iterator[tuple[str, int]]:
    """The address and the process of an app on mini-llava, once it answers; it ends with the block.

    flags: options of the app; program: what Python runs instead of app.py; environment: beside that of this process;
    log: where what it says goes. Raises RuntimeError where it ends, or does not answer.
    """
    port = free_port()
    command = [sys.executable, *program, "--model", "mini-llava", "--port", str(port), *flags]
    environment = {**os.environ, **(environment or {})}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}/"
        _wait_for(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(url: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the app ended with status {process.returncode}")
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, timeout=5)
            return
        time.sleep(0.05)
    raise RuntimeError(f"the app did not answer within {_PATIENCE:.0f} s")
