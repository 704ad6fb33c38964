"""What the tests of calibration share: six samples, what comes of them, and a model that stops."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from fitprune_core import collect_statistics
from fitprune_core.calibration import calibration
from fitprune_core.models.provenance import processor_digest, weights_digest
from tests.calibration.sizes import SIZES
from tests.shares import Stopped
from tests.tiny import random_picture, tiny_llava


@pytest.fixture(scope="module")
def tiny_next():
    return tiny_llava(family="llava_next")


@pytest.fixture
def samples(tmp_path):
    """A samples file of six pictures of several sizes."""
    lines = []
    for number, size in enumerate(SIZES):
        random_picture(*size, seed=number).save(tmp_path / f"{number}.png")
        lines.append({"id": f"s{number}", "image": f"{number}.png", "question": f"What is {number}?"})
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


@pytest.fixture
def expected(tiny, samples, tmp_path):
    """What `collect_statistics` gives for them, saved with what `calibrate` adds: what they are of. As bytes."""
    pairs = [(random_picture(*size, seed=number), f"What is {number}?") for number, size in enumerate(SIZES)]
    collected = collect_statistics(*tiny, pairs, source=samples.name)
    digest = hashlib.sha256(samples.read_bytes()).hexdigest()[:16]
    of = {
        "samples file": f"samples.jsonl (sha256 {digest})",
        "weights": weights_digest(tiny[0]),
        "processor": processor_digest(tiny[1]),
    }
    replace(collected, provenance=collected.provenance | of).save(tmp_path / "expected.npz")
    return (tmp_path / "expected.npz").read_bytes()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "deep" / "out.npz"


@pytest.fixture
def stopping(monkeypatch):
    """Makes the model stop at its n-th sample from now on, counted from 0 (None: never); returns the list of calls."""
    observe = calibration.observe

    def stop_at(number):
        calls = []

        def stopping_observe(model, inputs):
            if len(calls) == number:
                raise Stopped
            calls.append(inputs)
            return observe(model, inputs)

        monkeypatch.setattr(calibration, "observe", stopping_observe)
        return calls

    return stop_at
