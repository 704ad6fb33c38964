"""What every test shares: no network, no telemetry, a fixed seed, and one tiny model for those that only read it."""

from __future__ import annotations

import gc
import os

# Nothing that is imported is ever garbage, so nobody looks for it there, neither now nor when a test collects garbage:
# see `pytest_collection_finish` and `_what_stays_is_no_garbage`.
gc.disable()

# Processes of pytest-xdist share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before anything imports transformers or gradio: both read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

# And nothing here imports torch, which the process that deals tests out to others does not need.
import pytest  # noqa: E402

from tests.fit_statistics import peaked_statistics, whole_number_statistics  # noqa: E402


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="module")
def _what_stays_is_no_garbage():
    """Nor what files before this one have loaded, among which a test that collects garbage would look for a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    import torch

    # Of the CPU alone: torch.manual_seed notes where it was called for devices to come, which takes a millisecond.
    torch.default_generator.manual_seed(0)


@pytest.fixture(scope="session")
def tiny():
    """(model, processor): a tiny Llama-based LLaVA of 4 layers and 36 visual tokens. Do not change its weights."""
    from tests.tiny import tiny_llava

    return tiny_llava()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """The same model as a folder in the Hub's layout."""
    from tests.tiny import save_tiny_llava

    return save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")


@pytest.fixture
def no_grad():
    import torch

    with torch.no_grad():
        yield


@pytest.fixture
def one_round(monkeypatch):
    """Comparisons measure their times in one round, where the default is fifteen."""
    from fitprune_core.run import comparison, timing

    def once(*args, repeats: int, **options):
        return timing.paired_rounds(*args, repeats=min(repeats, 1), **options)

    monkeypatch.setattr(comparison, "paired_rounds", once)


@pytest.fixture
def inputs(tiny):
    """A picture and a question, as the tiny model takes them."""
    from fitprune_core import build_inputs
    from tests.tiny import random_picture

    return build_inputs(tiny[1], random_picture(), "what is in the picture?")


@pytest.fixture(scope="session")
def shapes():
    """Statistics of mini-llava's shape, of LLaVA-1.5-7B's, of one sample, and with many ties."""
    return {
        "mini": peaked_statistics(64, 12, 256, seed=1),
        "7b": peaked_statistics(6, 32, 576, seed=2, width=4096),
        "one sample": peaked_statistics(1, 12, 256, seed=3),
        "ties": whole_number_statistics(4, 12, 256, seed=4, largest=3),
    }


@pytest.fixture(scope="session")
def mini_tokenizer():
    """A tokenizer as mini-llava's, trained on less."""
    from app.demo_model.text import train_tokenizer

    return train_tokenizer(seed=3, scenes=150)


@pytest.fixture(scope="session")
def untrained_mini(mini_tokenizer):
    """mini-llava before its training. Do not change its weights."""
    import torch

    from app.demo_model.architecture import build_model

    torch.manual_seed(0)
    return build_model(mini_tokenizer).eval()
