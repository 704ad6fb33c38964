"""Samples as CSV and in LLaVA's own form: the same samples as JSON Lines, whatever the size of the file."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fitprune_core.samples.files import check_samples, read_samples
from fitprune_core.samples.formats import LARGEST_ENTRY

ONE = {
    "id": "000000033471",
    "image": "coco/33471.jpg",
    "conversations": [
        {"from": "human", "value": '<image>\nWhat are the "colours" of the bus, ä?'},
        {"from": "gpt", "value": "White [and] red, }{."},
        {"from": "human", "value": "Is it moving?"},
        {"from": "gpt", "value": "No."},
    ],
}


def array(tmp_path, *entries, indent=None) -> Path:
    path = tmp_path / "mix.json"
    path.write_text(json.dumps(entries, indent=indent, ensure_ascii=False), encoding="utf-8")
    return path


def test_what_cannot_be_used_of_llavas_form_is_left_out_and_counted(tmp_path, caplog):
    turns = [{"from": "human", "value": "<image>\n"}, {"from": "gpt", "value": "A key."}]
    bad = [{"conversations": turns}, {"image": ["a.png"]}, {"conversations": 3}, {"id": None}, {"id": "\ud800"}]
    entries = [ONE, *(ONE | change for change in bad), ONE]
    path = tmp_path / "mix.json"
    path.write_text(json.dumps(entries))
    assert [sample.id for sample in read_samples(path)] == [ONE["id"], f"{ONE['id']} (2)"] and not caplog.records
    assert check_samples(path, warns=False) == 2 and not caplog.records
    assert check_samples(path) == 2
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        f"left out 5 entries that cannot be used; the first: {path}, entry 2: question must be a text"
    )
    caplog.clear()
    assert check_samples(array(tmp_path, ONE, ONE | bad[1])) == 1
    assert f"left out 1 entry that cannot be used: {path}, entry 2: image must be a text" in caplog.text


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_llavas_form_gives_its_first_turn(tmp_path, indent):
    path = array(tmp_path, ONE, {**ONE, "id": 7}, indent=indent)
    first, second = read_samples(path)
    assert (first.id, first.image) == ("000000033471", tmp_path / "coco" / "33471.jpg")
    assert first.question == 'What are the "colours" of the bus, ä?'
    assert first.answer == "White [and] red, }{."
    assert first.place == f"{path}, entry 1"
    assert second.id == "7"


def test_llavas_form_as_lines_a_system_turn_and_no_answer(tmp_path):
    turns = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "What is it?\n<image>"}]
    path = tmp_path / "mix.jsonl"
    path.write_text(json.dumps({**ONE, "conversations": turns}))
    (sample,) = read_samples(path)
    assert (sample.question, sample.answer) == ("What is it?", None)


def test_entries_without_a_picture_are_passed_over(tmp_path):
    text_only = {"id": "chat", "conversations": ONE["conversations"]}
    assert [sample.id for sample in read_samples(array(tmp_path, text_only, ONE, text_only))] == [ONE["id"]]
    with pytest.raises(ValueError, match="holds no sample"):
        check_samples(array(tmp_path, text_only))


def test_ids_that_come_again_are_told_apart(tmp_path):
    entries = [{**ONE, "id": name} for name in ("a", "a", "a (2)", "a", "b")]
    assert [sample.id for sample in read_samples(array(tmp_path, *entries))] == [
        "a",
        "a (2)",
        "a (2) (2)",
        "a (3)",
        "b",
    ]


def test_an_array_of_plain_objects(tmp_path):
    plain = {"id": "1", "image": "a.png", "question": "What?", "answer": "a key"}
    (sample,) = read_samples(array(tmp_path, plain))
    assert (sample.id, sample.question, sample.answer) == ("1", "What?", "a key")
    with pytest.raises(ValueError, match=r"mix\.json, entry 2: the id '1' is that of entry 1"):
        check_samples(array(tmp_path, plain, plain))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "entry 1: not a JSON object: ''"),
        ("[]", "holds no sample"),
        ("[1]", "entry 1: not a JSON object: '1]'"),
        ('[{"id": NaN, "image": "', "entry 1: it holds NaN, which is no JSON; write a number, a text in quotes"),
        (json.dumps(ONE | {"id": "NaN"}) + '\n{"id": -Infinity}', "line 2: it holds -Infinity, which is no JSON"),
        ("[null, {}]", "entry 1: not a JSON object: 'null, "),
        ("[{}]", "entry 1: there is no id"),
        ('[{"id": 1', "entry 1: not a JSON object: "),
        ("[" * 100_000, "entry 1: not a JSON object"),
        ('[{"a":' + "[" * 100_000, "entry 1: its JSON is nested too deep to be read"),
        ("[" + json.dumps(ONE), "entry 1: it is followed by the end of the file, not by , or ]"),
        ("[" + json.dumps(ONE) + " 7", "entry 1: it is followed by '7', not by , or ]"),
        ("[" + json.dumps(ONE) + "] x", "entry 1: something follows the end of the array: 'x'"),
        ("[" + json.dumps(ONE) + ",]", "entry 2: not a JSON object: ']'"),
        ("[" + json.dumps(ONE | {"conversations": []}) + "]", "entry 1: conversations must have a turn from human"),
        ("[" + json.dumps(ONE | {"conversations": "x" * 9999}) + "]", "holds no sample that can be used; "),
        ("[" + json.dumps(ONE | {"conversations": "x" * 9999}) + "]", "entry 1: conversations must be a list of turns"),
        ("[" + json.dumps(ONE | {"conversations": [{"from": "human", "value": 3}]}) + "]", "question must be a text"),
        ("[" + json.dumps(ONE | {"image": ["a.png"]}) + "]", "entry 1: image must be a text"),
        ('[{"id": "' + "x" * (LARGEST_ENTRY + 2**17), "entry 1: not a JSON object of at most 1,048,576 characters"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_are_one_sentence(tmp_path, text, words):
    path = tmp_path / "mix.json"
    path.write_text(text)
    with pytest.raises(ValueError) as raised:
        check_samples(path)
    message = str(raised.value)
    assert words in message and "mix.json" in message and "\n" not in message and len(message) < 500


def test_csv_with_the_same_columns(tmp_path):
    rows = [
        {"id": "1", "image": "a.png", "question": '<image>\nWhat "is", it?', "answer": "a key", "more": "x"},
        {"id": "2", "image": "sub/b.png", "question": "Two\nlines?", "answer": "", "more": ""},
        {"id": "3", "image": "c.png", "question": "What?", "answer": "no", "more": ""},
    ]
    path = tmp_path / "samples.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    one, two, three = read_samples(path)
    assert (one.id, one.image, one.question, one.answer) == ("1", tmp_path / "a.png", 'What "is", it?', "a key")
    assert (two.question, two.answer) == ("Two\nlines?", None)
    assert three.place == f"{path}, line 6"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no sample"),
        ("id,image,question\n", "holds no sample"),
        ("a,b\n1,2\n", "line 1: it names no columns id, image, question; the first line of a CSV names its colu"),
        ("1,a.png,What?\n", "names its columns, and this one has '1', 'a.png', 'what?'"),
        ("id,image\n1,a.png\n", "line 1: it names no column question; "),
        ("id;image;question\n1;a.png;What?\n", "line 1: its columns must be separated by commas: 'id;image;question'"),
        ("id,image,question\n1,a.png\n", "line 2: it has more or fewer columns than the first line"),
        ("id,image,question\n1,a.png,What?,more\n", "line 2: it has more or fewer columns"),
        ("id,image,question\n1,a.png,\n", "line 2: there is no question"),
        ('id,image,question\n1,a.png,"What\n', "line 2: unexpected end of data"),
        ("id,image,question\n1," + "x" * 200_000 + ",What?\n", "line 2: field larger than field limit"),
        ("id,image,question\n1," + "x" * (LARGEST_ENTRY + 1), "line 2: it has more than 1,048,576 characters"),
    ],
)
def test_csv_that_cannot_be_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "samples.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as raised:
        check_samples(path)
    message = str(raised.value)
    assert words in message and "samples.csv" in message and "\n" not in message and len(message) < 500


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_with_one_sentence(tmp_path):
    generator = np.random.default_rng(0)
    lines = "\n".join(json.dumps({"id": str(n), "image": "a.png", "question": "What?"}) for n in range(4))
    texts = {
        "a.jsonl": lines,
        "a.json": json.dumps([ONE] * 3),
        "a.csv": "id,image,question\n1,a.png,What?\n2,b.png,Who?",
    }
    refused = 0
    for name, text in texts.items():
        path = tmp_path / name
        for _ in range(150):
            damaged = bytearray(text.encode())
            for position in generator.integers(0, len(damaged), size=generator.integers(1, 5)):
                damaged[position] = generator.integers(0, 256)
            path.write_bytes(damaged[: generator.integers(1, len(damaged) + 1)])
            try:
                check_samples(path)
            except ValueError as error:
                refused += 1
                message = str(error)
                assert name in message and len(message.splitlines()) == 1 and len(message) < 600
    assert refused > 200


_MEASURE = """
import resource, sys
from fitprune_core.samples.files import check_samples
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(check_samples(sys.argv[1]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("separator", [", ", ",\n"])
@pytest.mark.slow
def test_a_large_array_is_never_in_memory(tmp_path, separator):
    count, entry = 20_000, json.dumps(ONE)
    path = tmp_path / "mix.json"
    path.write_text("[" + separator.join([entry] * count) + "]")
    done = subprocess.run([sys.executable, "-c", _MEASURE, path], capture_output=True, text=True, check=True)
    read, kilobytes = map(int, done.stdout.split())
    assert read == count
    assert path.stat().st_size > 5e6
    # The two mappings of ids hold some megabytes each; the file is read in pieces.
    assert kilobytes < 12_000
