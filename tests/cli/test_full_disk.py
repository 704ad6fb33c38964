"""A disk that fills ends a command with one line and exit status 2, and leaves a file that was there as it was."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from fitprune_core.recipes.published import RECIPES

ROOT = Path(__file__).resolve().parents[2]
STATISTICS = RECIPES / "mini-llava" / "statistics.npz"


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 100])
def test_a_recipe_that_does_not_fit_on_the_disk(tmp_path, room):
    out = tmp_path / "recipe.json"
    was = '{"schema": 1, "was": "there"}'
    out.write_text(was)
    done = subprocess.run(
        [sys.executable, "-m", "fitprune_core", "fit", "--statistics", STATISTICS, "--reduction", "0.5", "--out", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        # No file may grow beyond this, which the writer is told as by a full disk: an OSError.
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (room, room)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr and "File too large" in done.stderr
    assert out.read_text() == was
