"""The pages' pure functions, run in Node where there is one. The browser tests cover them again, on the page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted(Path(__file__).parent.glob("*.test.js"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script(script):
    done = subprocess.run(["node", str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
