from __future__ import annotations

import json
import os

import pytest

from fitprune_core.samples.files import Sample, SamplesFile, check_pictures, check_samples, read_samples
from fitprune_core.samples.formats import LARGEST_ENTRY

GOOD = {"id": "1", "image": "a.png", "question": "What is it?"}


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
        path = tmp_path / "samples.jsonl"
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write


def test_reads_every_line(write, tmp_path):
    path = write({**GOOD, "answer": "ein Schlüssel", "more": 1}, "", {**GOOD, "id": "2", "image": "sub/b.png"}, "  ")
    first, second = read_samples(path)
    assert first == Sample("1", tmp_path / "a.png", "What is it?", "ein Schlüssel", f"{path}, line 1")
    assert (second.id, second.image, second.answer) == ("2", tmp_path / "sub" / "b.png", None)
    assert second.place.endswith("line 3")
    assert check_samples(str(path)) == 2


def test_numbers_are_ids_and_answers_as_people_write_them(write):
    first, second = read_samples(write({**GOOD, "id": 0, "answer": 2}, {**GOOD, "id": 17, "answer": 2.5}))
    assert (first.id, first.answer, second.id, second.answer) == ("0", "2", "17", "2.5")


def test_reads_lazily(write):
    samples = read_samples(write(GOOD, "broken"))
    assert next(samples).id == "1"
    with pytest.raises(ValueError, match="line 2"):
        next(samples)


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "w.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    assert check_samples(path) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not a JSON object: '{'"),
        ("[1]", r"line 2: not a JSON object: \[1\]"),
        ("null", "line 2: not a JSON object: None"),
        ({"id": "2", "image": "a.png"}, "line 2: there is no question"),
        ({**GOOD, "id": True}, "line 2: id must be a text, not True"),
        (
            {"question_id": 0, "image": "a.png", "text": "?"},
            "line 2: there is no id; it has 'question_id', 'image', 'te",
        ),
        ({**GOOD, "id": "a\nb"}, r"line 2: id must be on one line and printable, not 'a\\nb'"),
        ({**GOOD, "id": "2", "image": ""}, "line 2: image must be a text, not ''"),
        ({**GOOD, "id": "2", "question": "  "}, "line 2: question must be a text"),
        (
            r'{"id": "2", "image": "a.png", "question": "Q?", "answer": "\ud800"}',
            "line 2: answer holds .* half a character",
        ),
        (
            r'{"id": "2", "image": "a.png", "question": "Q?", "kind": "\udfff"}',
            "line 2: kind holds .* half a character",
        ),
        ({**GOOD, "id": "2", "answer": ["a"]}, r"line 2: answer must be a text, not \['a'\]"),
        (GOOD, "line 2: the id '1' is that of line 1"),
        ("x" * 1000, r"line 2: not a JSON object: 'x{70,80}\.\.\.$"),
        (
            {**GOOD, "id": "2", "image": "iVBOR" * 3_000},
            "line 2: image must be a path, not 15,000 charac",
        ),
        (
            {**GOOD, "id": "2", "image": "data:image/png;base64,iVBOR"},
            "line 2: image must be a path, not 27 charact",
        ),
        ({**GOOD, "id": "2", "image": "a\0b"}, "line 2: image must be a path"),
        ({**GOOD, "id": "2", "question": " <image>\n<image>"}, "line 2: question must be a text"),
        ({**GOOD, "id": "i" * 1_001}, "line 2: id has 1,001 characters; it may have up to 1,000"),
        ({**GOOD, "id": "2", "answer": "a" * 131_073}, "line 2: answer has 131,073 characters"),
        ("[" * 100_000, r"line 2: not a JSON object: '\[{70,80}\.\.\.$"),
        ("x" * (LARGEST_ENTRY + 1), "line 2: it has more than 1,048,576 characters"),
    ],
)
def test_wrong_lines_are_named(write, line, message):
    with pytest.raises(ValueError, match=rf"samples\.jsonl, {message}"):
        check_samples(write(GOOD, line))


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_bytes(b'{"id": "\xff\xfe"}\n')
    with pytest.raises(ValueError, match=r"b\.jsonl: it is no text in UTF-8; save it as UTF-8$"):
        check_samples(path)
    path.write_bytes(json.dumps(GOOD).encode("utf-16"))
    with pytest.raises(ValueError, match=r"b\.jsonl: it is no text in UTF-8 but in UTF-16; save it as UTF-8$"):
        check_samples(path)
    lines = [json.dumps({**GOOD, "id": str(number)}) for number in range(9_000)]
    path.write_bytes("\n".join(lines).encode() + b"\xff")
    with pytest.raises(ValueError, match=r"b\.jsonl, after line \d+: it is no text in UTF-8"):
        check_samples(path)


def test_files_without_samples(write, tmp_path):
    with pytest.raises(ValueError, match="holds no sample"):
        check_samples(write("", ""))
    with pytest.raises(ValueError, match=r"cannot read samples .*absent\.jsonl: No such file"):
        check_samples(tmp_path / "absent.jsonl")
    with pytest.raises(ValueError, match="cannot read samples"):
        check_samples(tmp_path)


def test_one_picture_has_to_be_there(write, tmp_path):
    path = write(GOOD, {**GOOD, "id": "2", "image": "b.png"})
    with pytest.raises(ValueError, match=r"samples\.jsonl, line 1: there is no file .*a\.png; no other picture of .*"):
        check_pictures(path)
    (tmp_path / "b.png").touch()
    check_pictures(path)


def test_pictures_of_another_folder(write, tmp_path):
    path, folder = write(GOOD), tmp_path / "elsewhere"
    (sample,) = read_samples(SamplesFile(path, folder))
    assert sample.image == folder / "a.png"
    with pytest.raises(ValueError, match=r"no file .*elsewhere/a\.png; .*--images names the folder"):
        check_pictures(SamplesFile.of(path, folder))
    folder.mkdir()
    (folder / "a.png").touch()
    check_pictures(SamplesFile.of(SamplesFile(path), str(folder)))
    with pytest.raises(ValueError, match="there is no file"):
        check_pictures(path)


def test_what_never_ends_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ValueError, match="it is a pipe, not a file"):
        check_samples(tmp_path / "pipe.jsonl")
    with pytest.raises(ValueError, match="it is a device, not a file"):
        check_samples("/dev/zero")


@pytest.mark.parametrize(
    "question", ["<image>\nWhat is <image>?", "What is <image>?\n<image>", " <image> <image>What is <image>? "]
)
def test_image_markers_around_a_question_are_no_part_of_it(write, question):
    (sample,) = read_samples(write({**GOOD, "question": question}))
    assert sample.question == "What is <image>?"
