"""Whatever a message quotes is short, and quoting it takes no time."""

from __future__ import annotations

import os
import random
import time

import numpy as np
import pytest

from fitprune_core.checks.words import LONGEST_MESSAGE, LONGEST_NAME, LONGEST_VALUE, cut, named, shown


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def test_short_values_are_quoted_as_they_are_typed():
    for value in ("a key", 7, -0.5, None, True, [1, "b"], {"a": 1}, (2,), b"x", "é\n"):
        assert shown(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    ["x" * 10**7, b"y" * 10**7, 10**5000, list(range(10**6)), dict.fromkeys(range(1000), "z" * 1000), nested(100_000),
     np.zeros((100, 100)), {"a": ["b" * 10**6] * 100}],
    ids=["text", "bytes", "number", "list", "dict", "depth", "array", "texts"],
)  # fmt: skip
def test_long_values_are_cut_at_once(value):
    start = time.thread_time()
    assert len(shown(value)) <= LONGEST_VALUE
    assert time.thread_time() - start < 0.2


def test_a_name_keeps_its_beginning_and_its_end():
    assert named("a/b.png") == "a/b.png"
    assert named("a" * LONGEST_NAME) == "a" * LONGEST_NAME
    short = named("begin/" + "x" * 15_000 + "/end.png")
    assert short.startswith("begin/x") and short.endswith("x/end.png") and len(short) <= LONGEST_NAME


def test_a_name_is_no_other_files():
    assert named("my  photos/a.png") == "my  photos/a.png"
    assert named(" a\nb\t.png") == " a\\nb\\t.png"
    assert len(named("\n" * 10**6)) <= LONGEST_NAME
    assert named(os.fsdecode(b"\xff.png")).encode() == b"\\udcff.png"


def test_a_message_is_one_line_and_loses_its_middle():
    assert cut("two\n  lines ") == "two lines"
    long = cut("begins " + "x\n" * 15_000 + " ends")
    assert long.startswith("begins x") and long.endswith("x ends") and len(long) <= LONGEST_MESSAGE
    assert cut("cannot read my  photos/a.png\r\n") == "cannot read my  photos/a.png"
    assert cut("a" + "\n" * 10_000 + "b") == "a b"


@pytest.mark.parametrize("longest", [0, 1, 2, 3, 4, 5, 8, 40])
def test_no_text_is_longer_than_asked(longest):
    dice = random.Random(longest)
    for _ in range(300):
        text = "".join(dice.choices("ab \n\t\x0b\u2028", k=dice.randrange(60)))
        found = cut(text, longest)
        assert len(found) <= longest and len(found.splitlines()) <= 1
        if len(" ".join(text.split())) <= longest and "  " not in text:
            assert found.split() == text.split()
