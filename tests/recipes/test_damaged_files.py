"""Recipe and statistics files with anything in them are read, or refused with one sentence that names the file."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.statistics import AttentionStatistics
from tests.fit_statistics import peaked_statistics

GEOMETRY = DecoderGeometry(4, 64, 128, 64, 64, 300)
VALUES = [None, True, -1, 10**400, -(10**400), 1e400, float("nan"), "x" * 100_000, [], [[]], {}, "é\n", 0, 0.5, [1] * 9]


@pytest.fixture
def statistics(tmp_path):
    made = peaked_statistics(3, 4, 20)
    values = AttentionStatistics(
        made.self_attention,
        made.cross_attention,
        "a-model",
        GEOMETRY,
        np.full((3, 4), 0.5),
        np.full((3, 4), 0.5),
        {"source": "s.jsonl"},
        np.array([20, 20, 20]),
    )
    values.save(tmp_path / "s.npz")
    return tmp_path / "s.npz"


def refused(load, path) -> str:
    """The sentence with which a file is refused; empty where it is read."""
    try:
        load(path)
    except ValueError as error:
        message = str(error)
        assert path.name in message and "\n" not in message and len(message) < 1200
        return message
    return ""


@pytest.mark.slow
def test_flipped_bits_of_statistics_are_one_sentence(statistics):
    data = statistics.read_bytes()
    generator = np.random.default_rng(0)
    refusals = 0
    for _ in range(300):
        damaged = bytearray(data)
        for position in generator.integers(0, len(data), size=generator.integers(1, 4)):
            damaged[position] ^= 1 << generator.integers(0, 8)
        statistics.write_bytes(damaged)
        refusals += bool(refused(AttentionStatistics.load, statistics))
    assert refusals > 100
    for length in range(0, len(data), 97):
        statistics.write_bytes(data[:length])
        assert refused(AttentionStatistics.load, statistics)


def rewritten(path, **members):
    """The same archive with other members: bytes of an .npy file, or an object for `about`; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        old = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (old | members).items():
            if not isinstance(content, bytes | None):
                buffer = io.BytesIO()
                np.save(buffer, np.array(json.dumps(content)))
                content = buffer.getvalue()
            if content is not None:
                archive.writestr(f"{name}.npy", content)


def about_of(path) -> dict:
    with np.load(path) as arrays:
        return json.loads(str(arrays["about"]))


def test_every_field_of_statistics_is_checked(statistics):
    about, data = about_of(statistics), statistics.read_bytes()
    for name in ("schema", "model", "geometry"):
        for value in VALUES:
            statistics.write_bytes(data)
            rewritten(statistics, about=about | {name: value})
            message = refused(AttentionStatistics.load, statistics)
            assert message or (name == "model" and isinstance(value, str)), (name, value)
    for name in about["geometry"]:
        for value in VALUES[:7]:
            statistics.write_bytes(data)
            rewritten(statistics, about=about | {"geometry": about["geometry"] | {name: value}})
            assert name in refused(AttentionStatistics.load, statistics)


def test_arrays_that_claim_to_be_large_are_refused_before_there_is_room_for_them(statistics):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6, 10**3)}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    rewritten(statistics, self_attention=buffer.getvalue())
    assert "do not fit into" in refused(AttentionStatistics.load, statistics)


def test_what_is_missing_is_named(statistics):
    data = statistics.read_bytes()
    for name in ("about", "self_attention", "cross_attention"):
        statistics.write_bytes(data)
        rewritten(statistics, **{name: None})
        assert f"there is no {name}" in refused(AttentionStatistics.load, statistics)
    statistics.write_bytes(data)
    rewritten(statistics, self_share=None)
    assert AttentionStatistics.load(statistics).self_share is None


def test_every_field_of_a_recipe_is_checked(tmp_path):
    recipe = PruningRecipe("a-model", 4, 20, 0.5, 0.5, (2, 2, 2, 2), 0.1, 3, image_aspect="crop")
    recipe.save(tmp_path / "r.json")
    entries = json.loads((tmp_path / "r.json").read_text())
    for name in entries:
        for value in VALUES:
            (tmp_path / "r.json").write_text(json.dumps(entries | {name: value}))
            refused(PruningRecipe.load, tmp_path / "r.json")
    (tmp_path / "r.json").write_text("[" * 1_000_000)
    assert "nested too deep" in refused(PruningRecipe.load, tmp_path / "r.json")


@pytest.mark.slow
def test_mutated_recipes_are_one_sentence(tmp_path):
    path = tmp_path / "r.json"
    PruningRecipe("a-model", 4, 20, 0.5, 0.5, (2, 2, 2, 2), 0.1, 3).save(path)
    data = path.read_bytes()
    generator = np.random.default_rng(1)
    refusals = 0
    for _ in range(400):
        damaged = bytearray(data)
        for position in generator.integers(0, len(data), size=generator.integers(1, 5)):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        refusals += bool(refused(PruningRecipe.load, path))
    assert refusals > 100
