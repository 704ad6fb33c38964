"""Files that a user names: what is no plain file is refused before anything reads it for ever."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import socket
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from fitprune_core.checks.files import (
    LARGEST_JSON,
    check_export,
    check_output,
    check_plain_file,
    parse_json,
    path_of,
    place_of,
    read_json,
    remove_partials,
    write_whole,
    written_whole,
)


@pytest.fixture
def odd_places(tmp_path):
    """What is no plain file, with the word for it."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        yield {
            tmp_path / "pipe": "a pipe",
            tmp_path / "socket": "a socket",
            tmp_path: "a folder",
            "/dev/zero": "a device",
        }


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "ä")
    assert path.read_bytes() == "ä".encode()
    with pytest.raises(KeyboardInterrupt), written_whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == "ä".encode() and [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_those_who_write_at_once_do_not_meet(tmp_path):
    path = tmp_path / "a.json"
    texts = [json.dumps([number] * 5_000 * number) for number in (1, 2, 3, 4)]
    write_whole(path, texts[0])

    def write_and_read(text: str) -> set[str]:
        found = set()
        for _ in range(25):
            write_whole(path, text)
            found.add(path.read_text())
        return found

    with ThreadPoolExecutor(len(texts)) as pool:
        assert set().union(*pool.map(write_and_read, texts)) <= set(texts)
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_file_is_for_others_to_read_as_any_other_is(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("target", ["a.txt", "away/a.txt"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_link_is_written_through(tmp_path, target, is_there):
    """What else leads to the file reads the new one; beside the link nothing is left."""
    (tmp_path / "links").mkdir()
    link, file = tmp_path / "links" / "link.txt", tmp_path / target
    (tmp_path / "links" / "other.txt").symlink_to(link)
    link.symlink_to(file)
    if is_there:
        write_whole(file, "old")
    write_whole(tmp_path / "links" / "other.txt", "new")
    assert link.is_symlink() and file.read_text() == "new" and not file.is_symlink()
    assert sorted(each.name for each in link.parent.iterdir()) == ["link.txt", "other.txt"]
    assert place_of(link) == place_of(tmp_path / "links" / "other.txt") == place_of(file)


def test_what_cannot_be_written_is_named_as_it_was_given(tmp_path):
    (tmp_path / "a").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    for path, words in (
        ("/proc/x.json", "No such file or directory"),
        (tmp_path / "a" / "b.txt", "Not a directory|File exists"),
        (tmp_path / "link", "Not a directory|File exists"),
    ):
        with pytest.raises(OSError) as raised:
            write_whole(path, "new")
        assert re.fullmatch(rf"cannot write {path}: ({words})", str(raised.value))
    with pytest.raises(OSError, match="^the body's own$"), written_whole(tmp_path / "b"):
        raise OSError("the body's own")


@pytest.mark.parametrize("given", [None, {"a": 1}, 3, b"a.json", ["a.json"]])
def test_what_is_no_path_is_refused(given):
    """A number is no file either, though the system would take it for one that is open."""
    for reads, words in ((check_plain_file, "recipe"), (read_json, "recipe"), (path_of, "recipe")):
        with pytest.raises(ValueError, match=f"^{words} is {re.escape(repr(given))}; give a path$"):
            reads(given, words)
    for writes in (check_output, check_export, lambda path: write_whole(path, "new")):
        with pytest.raises(ValueError, match=f"^the file to write is {re.escape(repr(given))}; give a path$"):
            writes(given)


def test_only_plain_files_are_read(tmp_path, odd_places):
    (tmp_path / "a").write_text("abc")
    assert check_plain_file(tmp_path / "a", "samples") == 3
    for path, kind in odd_places.items():
        with pytest.raises(ValueError, match=rf"cannot read samples {path}: it is {kind}, not a file$"):
            check_plain_file(path, "samples")
    with pytest.raises(ValueError, match="No such file"):
        check_plain_file(tmp_path / "absent", "samples")
    for name in ("x" * 15_000, "a\0b"):
        with pytest.raises(ValueError, match="cannot read samples") as raised:
            check_plain_file(name, "samples")
        assert len(str(raised.value)) < 300


def test_only_plain_files_are_written(tmp_path, odd_places):
    check_output(tmp_path / "new" / "folder" / "a.csv")
    (tmp_path / "a").write_text("abc")
    check_output(tmp_path / "a")
    for path, kind in odd_places.items():
        with pytest.raises(ValueError, match=rf"{path} is {kind}; name a file to write"):
            check_output(path)
    with pytest.raises(ValueError, match="a is no folder that may be written to|Not a directory"):
        check_output(tmp_path / "a" / "b")
    with pytest.raises(ValueError, match="cannot be written"):
        check_output(tmp_path / ("x" * 15_000))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 1_000_000, "nested too deep"),
        ('{"a":' * 1_000_000, "nested too deep"),
        ("{", "not JSON"),
        ("x" * 100_000, "not JSON"),
        (b"\xff\xfe{}", "byte 1 is 0xff"),
        ("1" * 10_000, "digits"),
    ],
)
def test_json_that_cannot_be_read(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text)
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"recipe .*a\.json: .*{words}") as raised:
        read_json(path, "recipe")
    assert len(str(raised.value)) < 400


def test_json_is_bounded_before_it_is_read(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_JSON + 1)
    with pytest.raises(ValueError, match="16,777,217 bytes; it may have up to 16,777,216"):
        read_json(path, "recipe")
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, "recipe") == {"a": 1}


class TestWritingOver:
    def test_what_is_read_is_not_written_over(self, tmp_path):
        source = tmp_path / "photo.png"
        source.write_bytes(b"x")
        (tmp_path / "link.png").symlink_to(source)
        for path in (source, tmp_path / "link.png"):
            with pytest.raises(ValueError, match="is read here, and would be written over"):
                check_export(path, inputs=(None, source))
        check_export(tmp_path / "new.png", inputs=(source,))

    @pytest.mark.parametrize(
        ("name", "own"), [("c.json", '{\n "format": "fitprune-comparison",'), ("c.html", "<!doctype html>")]
    )
    def test_only_an_export_is_written_over_by_one(self, tmp_path, name, own):
        path = tmp_path / name
        for content in ("", own):
            path.write_text(content)
            assert check_export(path) == path
        path.write_text("my notes")
        with pytest.raises(ValueError, match="is there and is not an exported comparison"):
            check_export(path)

    def test_another_kind_of_file_stays(self, tmp_path):
        path = tmp_path / "README.md"
        path.write_text("# Title")
        with pytest.raises(ValueError, match="README.md is there and is not a file of statistics; name another file"):
            check_output(path, begins=b"PK", what="a file of statistics")


def test_what_a_killed_writer_left_of_a_file_goes_and_nothing_else(tmp_path):
    path = tmp_path / "a[1].json"
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_dies_while_writing, args=(path,))
    process.start()
    process.join()
    others = [tmp_path / name for name in ("a1.json.0123abcd.partial", "a[1].json.partial", "b.json.0123abcd.partial")]
    for other in others:
        other.touch()
    assert len(list(tmp_path.iterdir())) == 4 and not path.exists()
    remove_partials(path)
    assert sorted(tmp_path.iterdir()) == sorted(others)


def _dies_while_writing(path):
    with written_whole(path) as file:
        file.write(b"half")
        os._exit(1)
