"""Shared by the tests of the app: an engine on a tiny real model."""

from __future__ import annotations

import ssl
from functools import cache

import pytest

import fitprune_core as fp
from app.engine import Engine
from tests.tiny import random_picture


@pytest.fixture(scope="session", autouse=True)
def _one_ssl_context():
    """Every client of httpx reads all certificates anew, for 20 ms, although no test here speaks TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def tiny_engine(tiny_folder, tmp_path_factory):
    """Answers of two tokens, and recipes from statistics of two pictures."""
    model, processor = fp.load_model(tiny_folder)
    folder = tmp_path_factory.mktemp("recipes")
    samples = [(random_picture(seed=seed), "What is it?") for seed in range(2)]
    fp.collect_statistics(model, processor, samples).save(folder / "tiny-llava" / "statistics.npz")
    return Engine(model, processor, recipes=folder, max_new_tokens=2)
