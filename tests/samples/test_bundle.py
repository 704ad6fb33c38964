"""A zip of pictures and questions: unpacked where it should be, or refused before it harms."""

from __future__ import annotations

import json
import zipfile

import pytest

from fitprune_core.samples import bundle
from fitprune_core.samples.bundle import unpack
from fitprune_core.samples.files import check_pictures, read_samples
from tests.tiny import random_picture

LINE = json.dumps({"id": "1", "image": "pictures/one.png", "question": "What?"})


def zipped(tmp_path, entries, **options):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.fixture
def picture(tmp_path):
    random_picture().save(tmp_path / "one.png")
    return (tmp_path / "one.png").read_bytes()


@pytest.mark.parametrize("inside", ["", "my set/"])
def test_a_set_is_unpacked(tmp_path, picture, inside):
    noise = [("__MACOSX/x.jsonl", "{}"), (inside + ".DS_Store", "x")]
    path = zipped(tmp_path, [(inside + "q.jsonl", LINE), (inside + "pictures/one.png", picture), *noise])
    samples = unpack(path, tmp_path / "out")
    check_pictures(samples)
    [sample] = read_samples(samples)
    assert sample.image.read_bytes() == picture
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["one.png", "q.jsonl"]


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"])
def test_nothing_is_written_outside(tmp_path, name):
    path = zipped(tmp_path, [(name, b"x"), ("q.jsonl", LINE)])
    with pytest.raises(ValueError, match="leads out of its folder"):
        unpack(path, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_does_not_decompress_is_told(tmp_path, method):
    path = zipped(tmp_path, [("q.jsonl", LINE), ("noise.bin", bytes(range(256)) * 64)], compression=method)
    with zipfile.ZipFile(path) as archive:
        begins = archive.getinfo("noise.bin").header_offset + 30 + len("noise.bin")
    broken = bytearray(path.read_bytes())
    for at in range(begins + 12, begins + 60):
        broken[at] ^= 0xFF
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"set\.zip (is no zip that can be read|cannot be unpacked)"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("name", [".", "./."])
def test_a_file_without_a_name_is_refused(tmp_path, name):
    path = zipped(tmp_path, [("q.jsonl", LINE), (name, b"x")])
    with pytest.raises(ValueError, match="a file without a name"):
        unpack(path, tmp_path / "out")


def test_a_bomb_is_stopped_while_it_grows(tmp_path):
    path = zipped(tmp_path, [("q.jsonl", LINE), ("big.png", bytes(2**22))], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    with pytest.raises(ValueError, match="more than 1,048,576 bytes"):
        unpack(path, tmp_path / "out", most_bytes=2**20)
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*")) <= 2**20 + 2**13


def test_there_may_not_be_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MOST_FILES", 3)
    with pytest.raises(ValueError, match="4 files"):
        unpack(zipped(tmp_path, [(f"{n}.png", b"x") for n in range(4)]), tmp_path / "out")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("a.png", b"x")], "no samples file"),
        ([("a.csv", "id"), ("b.jsonl", LINE)], "2 samples files"),
        ([], "no sampl"),
    ],
)
def test_there_is_one_samples_file(tmp_path, entries, words):
    with pytest.raises(ValueError, match=words):
        unpack(zipped(tmp_path, entries), tmp_path / "out")


def test_what_is_no_zip_is_refused(tmp_path):
    whole = zipped(tmp_path, [("q.jsonl", LINE), ("p.png", bytes(range(256)) * 40)]).read_bytes()
    for number, content in enumerate([b"", b"no zip", whole[:-30], whole[:60] + b"\xff" * 900 + whole[960:]]):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{number}.zip"):
            unpack(path, tmp_path / f"out{number}")
