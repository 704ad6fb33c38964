"""ZeroGPU by a stand-in for its package: what crosses to the worker is pickled, quotas are words, stops end it."""

from __future__ import annotations

import asyncio
import base64
import inspect
import io
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio.context import LocalContext

from app.background.runs import CALIBRATE, EVALUATE, Plan, Runs
from app.endpoints.agents import answer
from app.endpoints.api import Api
from app.engine import Engine
from app.zero_gpu import borrowing_a_gpu
from fitprune_core import Comparison
from tests.tiny import random_picture

pytestmark = pytest.mark.usefixtures("one_round")

ROOT = Path(__file__).resolve().parents[2]


class Spaces:
    """Stands in for the package `spaces`, as 0.51.3 was seen to behave: pickles what a call is given and yields, notes
    its duration and the request that it is for, and of what a call raises tells the class alone.
    """

    def __init__(self) -> None:
        self.durations: list[int] = []
        self.requests: list = []
        self.closed = 0
        self.error: Exception | None = None
        self.dropped = 0  # processes that are not used again

    def GPU(self, *, duration):  # the package's own name
        def decorate(work):
            assert inspect.isgeneratorfunction(work)

            def borrowed(*arguments):
                if self.error is not None:
                    raise self.error
                arguments = pickle.loads(pickle.dumps(arguments))
                self.durations.append(duration(*arguments))
                self.requests.append(LocalContext.request.get(None))
                items = work(*arguments)
                try:
                    for item in items:
                        yield pickle.loads(pickle.dumps(item))
                except GeneratorExit:
                    # The process learns of it once it has made the next item; what it raises instead ends it.
                    try:
                        next(items, None)
                    except Exception:
                        self.dropped += 1
                    raise
                except Exception as error:
                    self.dropped += 1
                    raise gr.Error(type(error).__name__, title="ZeroGPU worker error", print_exception=False) from None
                finally:
                    items.close()
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


@pytest.mark.slow
def test_a_borrowed_gpu_answers_what_a_plain_engine_answers(engine, tiny_engine, spaces):
    *_, there = engine.compare(random_picture(), "What is it?", 60)
    *_, here = tiny_engine.compare(random_picture(), "What is it?", 60)
    assert untimed(there) == untimed(here)
    swept = list(engine.sweep(random_picture(), "What is it?", [30, 60], ["fitprune", "random"]))
    assert untimed(swept[1]) == untimed(here) and len(swept) == 4
    assert spaces.closed == 2


@pytest.mark.slow
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


class Toast(str):
    """The package's text with HTML for a page, whose str() is Markdown."""

    def __str__(self) -> str:
        return "No GPU was available after 60s [Create a free account](https://huggingface.co/join) to get more."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            gr.Error(Toast("No GPU. <a href='x'>Create</a>"), title="ZeroGPU queue timeout"),
            "ZeroGPU queue timeout: No GPU was available after 60s Create a free account "
            "(https://huggingface.co/join) to get more.",
        ),
        (
            gr.Error("GPU task aborted", title="ZeroGPU worker error"),
            "The GPU that was lent for this failed (GPU task aborted). Try again in a minute.",
        ),
        (
            RuntimeError("ZeroGPU API /schedule error: 500 (Internal Server Error)"),
            "This Space could borrow no GPU (ZeroGPU API /schedule error: 500 (Internal Server Error)). "
            "Try again in a minute.",
        ),
        (
            httpx.ConnectError("Connection refused"),
            "This Space could borrow no GPU (Connection refused). Try again in a minute.",
        ),
    ],
)
def test_whatever_the_package_ends_in_is_told_in_words(engine, spaces, error, words):
    spaces.error = error
    with pytest.raises(ValueError) as told:
        list(engine.compare(random_picture(), "What is it?", 60))
    assert str(told.value) == words


@pytest.mark.parametrize(
    ("raised", "expected", "is_used_again"),
    [
        (ValueError("the picture has too many pixels"), ValueError("the picture has too many pixels"), True),
        (MemoryError("the prompt does not fit"), MemoryError("the prompt does not fit"), True),
        (KeyError("layer"), RuntimeError("'layer'"), False),
        (RuntimeError(), RuntimeError("RuntimeError"), False),
    ],
)
def test_what_the_work_raises_keeps_its_words(spaces, raised, expected, is_used_again):
    def work(number, should_stop):
        yield number
        raise raised

    items = borrowing_a_gpu(work, lambda number: 1)(7, lambda: False)
    assert next(items) == 7
    with pytest.raises(type(expected)) as told:
        next(items)
    assert type(told.value) is type(expected) and str(told.value) == str(expected)
    assert spaces.dropped == (not is_used_again) and spaces.closed == 1


def test_a_run_in_the_background_is_refused_in_words_and_leaves_nothing(spaces, tiny_engine, tmp_path):
    """Outside a borrowed call the model of such a Space has no weights, and would answer with nonsense."""
    runs = Runs(tiny_engine, tmp_path)
    for task in (EVALUATE, CALIBRATE):
        with pytest.raises(ValueError, match=f"none for a run of minutes: `python -m fitprune_core {task}` does it"):
            runs.ask(None, None, 4, [60], ["fitprune"], task=task)
        with pytest.raises(ValueError, match="none for a run of minutes"):
            runs.begin("token", Plan("samples.jsonl", "mine", (60.0,), ("fitprune",), task))
    assert list(tmp_path.iterdir()) == []


def test_an_agents_call_is_for_the_quota_of_whoever_sent_it(engine, spaces):
    """The package reads the header of the request that Gradio would have noted."""
    headers = {"x-ip-token": "a.b.c"}
    buffer = io.BytesIO()
    random_picture().save(buffer, "PNG")
    image = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    request = SimpleNamespace(headers=headers, client=None, is_disconnected=still_there)
    given = {"image": image, "question": "What is it?", "reduction": 60}
    found = asyncio.run(answer(Api(engine), "compare", given, request))
    (noted,) = [each.headers for each in spaces.requests]
    token = (noted if hasattr(noted, "get") else vars(noted)).get("x-ip-token")  # as the package reads it
    assert found["question"] == "What is it?" and token == headers["x-ip-token"]


async def still_there() -> bool:
    return False


def test_elsewhere_nothing_is_borrowed(tiny_engine):
    assert tiny_engine._stream == tiny_engine._stream_here


@pytest.mark.slow
def test_the_package_comes_before_anything_that_looks_for_cuda_and_weights_are_read_on_one_thread(tmp_path):
    """It refuses to be imported after torch has looked, so the app's first line of work must be to import it; and what
    it puts in the place of CUDA is not there for other threads.
    """
    (tmp_path / "spaces.py").write_text(
        "import sys\n"
        "assert 'torch' not in sys.modules, 'CUDA has been initialized before importing the `spaces` package'\n"
        "def GPU(*, duration):\n    return lambda work: work\n"
    )
    code = f"""
import runpy, sys, threading
sys.path.insert(0, {str(tmp_path)!r})
sys.argv = ["app.py", "--help"]
runpy.run_path({str(ROOT / "app.py")!r}, run_name="not_main")
assert "spaces" in sys.modules
from transformers import core_model_loading
from app.engine import Engine
from app.settings import Settings
reads, on = core_model_loading._materialize_copy, []
core_model_loading._materialize_copy = lambda *given: on.append(threading.current_thread()) or reads(*given)
Engine.from_settings(Settings(model="mini-llava"))
assert on and set(on) == {{threading.main_thread()}}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env={"PATH": "", "SPACES_ZERO_GPU": "true", "HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 0, done.stderr
