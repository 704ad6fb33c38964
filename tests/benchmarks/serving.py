"""The app as a program of its own, for measurements: started, waited for, and ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.app.serving import free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]


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
        wait_for(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)
