"""Shared by the tests of the core that run the tiny model of `tests/conftest.py`."""

from __future__ import annotations

import pytest
import torch

from fitprune_core import build_inputs
from tests.tiny import random_picture


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def inputs(tiny):
    """A picture and a question, as the tiny model takes them."""
    return build_inputs(tiny[1], random_picture(), "what is in the picture?")
