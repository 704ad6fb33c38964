"""From nothing to a page: `python -m tests.benchmarks.clean_clone [--torch-index URL] [--no-cache]`.

Clones the last commit of this checkout into a folder of its own, says `make demo` there, and prints the seconds until
the page answers. Downloads dominate, so it says whether pip may use what it downloaded before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.app.serving import free_port
from tests.benchmarks.serving import ROOT

_PATIENCE = 3_600.0  # seconds


def measure(folder: Path, torch_index: str, use_cache: bool) -> tuple[float, float]:
    """Seconds that `make demo` took to install, and until the page answered, both from its beginning."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    port, flags = free_port(), "" if use_cache else "--no-cache-dir"
    base = getattr(sys, "_base_executable", sys.executable)
    command = ["make", "demo", f"PORT={port}", f"PYTHON={base}", f"TORCH_INDEX={torch_index}", f"PIP_FLAGS={flags}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    began, installed = time.monotonic(), 0.0
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            while time.monotonic() - began < _PATIENCE:
                if process.poll() is not None:
                    raise RuntimeError(f"make demo ended:\n{(folder / 'log').read_text()[-2000:]}")
                if not installed and (folder / ".venv" / "installed").exists():
                    installed = time.monotonic() - began
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
                    return installed, time.monotonic() - began
                time.sleep(0.2)
            raise RuntimeError(f"make demo showed no page within {_PATIENCE:,.0f} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.clean_clone", description=__doc__.splitlines()[0])
    parser.add_argument("--torch-index", default="", help="as TORCH_INDEX of the Makefile")
    parser.add_argument("--no-cache", action="store_true", help="let pip download everything")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        installed, page = measure(Path(name) / "clone", options.torch_index, not options.no_cache)
    how = "everything downloaded" if options.no_cache else "what pip had downloaded before was used"
    print(f"make demo in a clean clone: installed after {installed:.0f} s, a page after {page:.0f} s ({how})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
