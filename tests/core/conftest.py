"""Shared by the tests of the core: the tiny model of `tests/conftest.py` asked something, and statistics to fit."""

from __future__ import annotations

import pytest
import torch

from fitprune_core import build_inputs
from tests.fit_statistics import peaked_statistics, whole_number_statistics
from tests.tiny import random_picture


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def inputs(tiny):
    """A picture and a question, as the tiny model takes them."""
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
    from fitprune_core.mini_llava.text import train_tokenizer

    return train_tokenizer(seed=3, scenes=150)


@pytest.fixture(scope="session")
def untrained_mini(mini_tokenizer):
    """mini-llava before its training. Do not change its weights."""
    from fitprune_core.mini_llava.architecture import build_model

    torch.manual_seed(0)
    return build_model(mini_tokenizer).eval()
