"""Checkpoints that are not whole or not sound are refused with one sentence, and no code of theirs is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from fitprune_core import load_model
from fitprune_core.models.checkpoint import check_whole


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of the tiny model's folder, to be damaged."""
    return shutil.copytree(tiny_folder, tmp_path / "damaged")


def refused(folder) -> str:
    with pytest.raises(ValueError) as raised:
        load_model(folder, device="cpu")
    message = str(raised.value)
    assert "damaged" in message and "\n" not in message and len(message) < 600
    return message


def test_missing_and_misshapen_tensors_are_named(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    gone, short = [name for name in weights if "up_proj" in name][:2]
    damaged = {name: weight for name, weight in weights.items() if name != gone}
    damaged[short] = weights[short][:1].clone()
    save_file(damaged, path, {"format": "pt"})
    message = refused(folder)
    assert "layers.0.mlp.up_proj.weight (missing)" in message
    assert "layers.1.mlp.up_proj.weight ((1, 64), not (128, 64))" in message


def test_many_missing_tensors_are_counted():
    with pytest.raises(ValueError, match=r"a \(missing\), b \(missing\), c \(missing\) and 2 more"):
        check_whole("m", {"missing_keys": set("edcba"), "mismatched_keys": set()})
    check_whole("m", {"missing_keys": set(), "mismatched_keys": set()})


def test_code_of_a_folder_is_never_run_or_offered(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}})
    )
    (folder / "own.py").write_text("raise SystemExit('run')")
    message = refused(folder)
    assert "never run here" in message and "trust_remote_code" not in message


def test_nothing_is_loaded_without_saying_that_no_code_is_run():
    core = Path(__file__).resolve().parents[2] / "fitprune_core"
    calls = [line for path in core.rglob("*.py") for line in path.read_text().split(".from_pretrained(")[1:]]
    assert len(calls) > 5
    assert all("**NO_CODE" in call.partition(")")[0] for call in calls)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 200_000, "7", '{"a": ' + "1" * 400 + "}"])
def test_json_that_is_something_else(folder, name, text):
    (folder / name).write_text(text)
    refused_or_loaded(folder)


@pytest.mark.parametrize("value", [0, -1, 10**400, "x" * 9_999, None, [], 0.5])
@pytest.mark.parametrize("name", ["hidden_size", "num_attention_heads", "intermediate_size", "hidden_act"])
def test_values_of_a_configuration_that_cannot_be(folder, name, value):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused_or_loaded(folder)


@pytest.mark.slow
def test_damaged_weights(folder):
    path, generator = folder / "model.safetensors", np.random.default_rng(0)
    data = path.read_bytes()
    for length in (0, 7, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        refused(folder)
    for _ in range(10):
        damaged = bytearray(data)
        damaged[generator.integers(0, 300)] ^= 1 << generator.integers(0, 8)
        path.write_bytes(damaged)
        refused_or_loaded(folder)


def refused_or_loaded(folder) -> None:
    """One sentence, or a model: what transformers makes up for is no business of this test."""
    try:
        load_model(folder, device="cpu")
    except ValueError as error:
        message = str(error)
        assert "\n" not in message and len(message) < 600
