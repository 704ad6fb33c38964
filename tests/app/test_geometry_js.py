"""The scrubber's pure functions, run in Node where there is one. The browser test covers them again, on the page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("geometry.test.js")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_geometry():
    done = subprocess.run(["node", "--test", str(SCRIPT)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
