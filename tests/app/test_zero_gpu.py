"""ZeroGPU by a stand-in for its package: what crosses to the worker is pickled, quotas are words, stops end it."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from app.engine import Engine
from app.zero_gpu import borrowing_a_gpu
from fitprune_core import Comparison
from tests.tiny import random_picture

ROOT = Path(__file__).resolve().parents[2]


class Spaces:
    """Stands in for the package `spaces`: pickles what a call is given and yields, and notes its duration."""

    def __init__(self) -> None:
        self.durations: list[int] = []
        self.closed = 0
        self.error: Exception | None = None

    def GPU(self, *, duration):  # the package's own name
        def decorate(work):
            assert inspect.isgeneratorfunction(work)

            def borrowed(*arguments):
                if self.error is not None:
                    raise self.error
                arguments = pickle.loads(pickle.dumps(arguments))
                self.durations.append(duration(*arguments))
                try:
                    for item in work(*arguments):
                        yield pickle.loads(pickle.dumps(item))
                finally:
                    self.closed += 1

            return borrowed

        return decorate


@pytest.fixture
def spaces(monkeypatch):
    spaces = Spaces()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=spaces.GPU))
    return spaces


@pytest.fixture
def engine(spaces, tiny_engine):
    """The tiny engine anew, as a Space makes it."""
    engine = object.__new__(Engine)
    engine.__dict__.update(tiny_engine.__dict__)
    engine._stream = borrowing_a_gpu(engine._stream_here, engine._seconds_of_comparison)
    engine._sweep = borrowing_a_gpu(engine._sweep_here, engine._seconds_of_sweep)
    return engine


def untimed(comparison: Comparison) -> tuple:
    return comparison.original.answer, comparison.pruned.answer, comparison.kept, comparison.removed


def test_a_borrowed_gpu_answers_what_a_plain_engine_answers(engine, tiny_engine, spaces):
    *_, there = engine.compare(random_picture(), "What is it?", 60)
    *_, here = tiny_engine.compare(random_picture(), "What is it?", 60)
    assert untimed(there) == untimed(here)
    swept = list(engine.sweep(random_picture(), "What is it?", [30, 60], ["fitprune", "random"]))
    assert untimed(swept[1]) == untimed(here) and len(swept) == 4
    assert spaces.closed == 2


def test_the_duration_follows_from_the_request(engine, spaces):
    list(engine.compare(random_picture(), "What is it?", 60))
    list(engine.sweep(random_picture(), "What is it?", [30], ["fitprune"]))
    list(engine.sweep(random_picture(), "What is it?", [30, 60, 80], ["fitprune", "random"]))
    comparison, small, large = spaces.durations
    assert all(isinstance(seconds, int) and seconds > 0 for seconds in spaces.durations)
    assert large > small and comparison < 60


def test_a_stop_closes_the_call(engine, spaces):
    stopped = list(engine.compare(random_picture(), "What is it?", 60, lambda: True))
    assert stopped == [] and spaces.closed == 1


def test_a_quota_that_is_used_up_is_told_in_words(engine, spaces):
    spaces.error = gr.Error(
        "You have exceeded your <a href='x'>GPU quota</a> (60s requested)", title="ZeroGPU quota exceeded"
    )
    with pytest.raises(
        ValueError, match=r"^ZeroGPU quota exceeded: You have exceeded your GPU quota \(60s requested\)$"
    ):
        list(engine.compare(random_picture(), "What is it?", 60))


def test_elsewhere_nothing_is_borrowed(tiny_engine):
    assert tiny_engine._stream == tiny_engine._stream_here


@pytest.mark.slow
def test_the_package_comes_before_anything_that_looks_for_cuda(tmp_path):
    """It refuses to be imported after torch has looked; the app's first line of work must be to import it."""
    (tmp_path / "spaces.py").write_text(
        "import sys\n"
        "assert 'torch' not in sys.modules, 'CUDA has been initialized before importing the `spaces` package'\n"
        "def GPU(*, duration):\n    return lambda work: work\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['app.py', '--help']\n"
    code += (
        f"import runpy; runpy.run_path({str(ROOT / 'app.py')!r}, run_name='not_main'); assert 'spaces' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env={"PATH": "", "SPACES_ZERO_GPU": "true", "HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 0, done.stderr
