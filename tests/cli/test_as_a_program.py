"""The command line as a program of its own: its output, its complaints, and what it does not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fitprune_core.models.family import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "assets" / "examples" / "sign.png"
STATISTICS = ROOT / "recipes" / "mini-llava" / "statistics.npz"

# What no command needs. transformers loads scipy and accelerate by itself where they are installed.
NEVER = {"gradio", "fastapi", "matplotlib", "pandas", "sklearn", "torchvision", "torchaudio", "tensorflow", "lmms_eval"}
MODELS = {"torch", "transformers", "accelerate", "scipy", "huggingface_hub"}
OTHER_ROOMS = {f"fitprune_core.{name}" for name in ("calibration", "evaluation", "lmms_eval_plugin")}


# `python -m fitprune_core`, which then writes down what was loaded; the last argument says where.
PROGRAM = """
import atexit, pathlib, runpy, sys
told = pathlib.Path(sys.argv.pop())
atexit.register(lambda: told.write_text(" ".join(sys.modules)))
runpy.run_module("fitprune_core", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def run(tmp_path):
    """Runs a command; returns how it ended, and the names of the modules that it loaded."""

    def run(*arguments: object) -> tuple[subprocess.CompletedProcess, set[str]]:
        told = tmp_path / "loaded"
        command = [sys.executable, "-c", PROGRAM, *map(str, arguments), str(told)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
        return done, set(told.read_text().split())

    return run


@pytest.mark.slow
def test_compare_answers_and_loads_what_it_needs(run):
    done, loaded = run(
        *("compare", "--model", "mini-llava", "--image", PICTURE, "--question", "What is <image>?"),
        *("--reduction", "0.5", "--max-new-tokens", "2", "--json"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["pruned"]["new_tokens"] >= 1
    assert {"torch", "transformers"} <= loaded
    assert loaded.isdisjoint(NEVER | OTHER_ROOMS)
    families = {name.rpartition(".")[2] for name in loaded if name.startswith("fitprune_core.models.families.")}
    assert families == {module for module, _ in FAMILIES["llava"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("compare", "--help"), ("fit", "--statistics", STATISTICS, "--reduction", "0.5", "--out")],
    ids=["help", "help of compare", "fit"],
)
def test_help_and_fit_load_neither_torch_nor_pictures(run, arguments, tmp_path):
    out = [tmp_path / "recipe.json"] if arguments[-1] == "--out" else []
    done, loaded = run(*arguments, *out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fitprune_core.cli.main" in loaded
    assert loaded.isdisjoint(NEVER | OTHER_ROOMS | MODELS | {"PIL", "fitprune_core.run", "tqdm"})


@pytest.mark.slow
def test_bad_input_is_one_line_and_status_2(run, tmp_path):
    question = ("--image", tmp_path / "no.png", "--question", "What?", "--reduction", "0.5")
    done, loaded = run("compare", *question)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"python -m fitprune_core: there is no file {tmp_path / 'no.png'}\n"
    assert loaded.isdisjoint(MODELS)
