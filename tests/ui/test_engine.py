"""The engine on a tiny real model: recipes from statistics, a lock, and errors in sentences."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fitprune_core as fp
from app.engine import Engine, check_percent
from fitprune_core.comparison import Comparison, Partial
from tests.tiny import random_picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recipes(tiny_folder, tmp_path_factory):
    """A folder of recipes with statistics of the tiny model."""
    samples = [(random_picture(seed=seed), "What is it?") for seed in range(2)]
    folder = tmp_path_factory.mktemp("recipes")
    fp.collect_statistics(*fp.load_model(tiny_folder), samples).save(folder / "tiny-llava" / "statistics.npz")
    return folder


@pytest.fixture(scope="module")
def engine(tiny_folder, recipes):
    return Engine(*fp.load_model(tiny_folder), recipes=recipes, max_new_tokens=3)


def test_previews_tell_what_runs(engine):
    preview = engine.preview(40)
    *_, comparison = engine.compare(random_picture(), "What is it?", 40)
    assert isinstance(comparison, Comparison)
    assert [len(kept) for kept in comparison.kept] == preview.tokens
    assert preview.saving == pytest.approx(comparison.achieved_reduction)
    assert len(engine.previews()) == 91


def test_original_streams_first(engine):
    *partials, last = engine.compare(random_picture(), "What is it?", 40)
    stages = [partial.stage for partial in partials]
    assert isinstance(last, Comparison) and all(isinstance(partial, Partial) for partial in partials)
    assert stages == sorted(stages)


def test_whoever_waits_can_give_up(engine):
    running = engine.compare(random_picture(), "What is it?", 40)
    next(running)
    stop = threading.Event()
    waited: list = []
    thread = threading.Thread(
        target=lambda: waited.extend(engine.compare(random_picture(), "And?", 40, stop.is_set)), daemon=True
    )
    thread.start()
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive() and waited == []
    running.close()
    *_, last = engine.compare(random_picture(), "Free again?", 40)
    assert isinstance(last, Comparison)


@pytest.mark.parametrize("value", [-1, 90.5, 95, float("nan"), float("inf"), "60", None, True, [60]])
def test_budgets_that_cannot_be(value):
    with pytest.raises(ValueError, match="from 0 to 90"):
        check_percent(value)


def test_a_model_without_statistics_is_refused(engine, tmp_path):
    with pytest.raises(ValueError, match="tiny-llava"):
        Engine(engine.model, engine.processor, recipes=tmp_path)


def test_a_model_folder_that_is_not_there_ends_with_one_line_and_status_2(tmp_path):
    done = run_app("--model", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0 and "nowhere" in done.stderr


def test_a_port_in_use_ends_with_one_line_and_status_2(tiny_folder, recipes):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_app("--model", str(tiny_folder), "--recipes", str(recipes), "--port", port)
    assert done.returncode == 2
    complaints = [line for line in done.stderr.splitlines() if line.startswith("app.py:")]
    assert complaints == [f"app.py: port {port} on 127.0.0.1 is in use; choose another with --port"]


def run_app(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
