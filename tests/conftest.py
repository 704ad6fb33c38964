"""What every test shares: no network, no telemetry, a fixed seed, and one tiny model for those that only read it."""

from __future__ import annotations

import os

# Before anything imports transformers or gradio: both read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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
