"""Whatever a message quotes is short, and quoting it takes no time."""

from __future__ import annotations

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


def test_a_message_is_one_line_and_loses_its_middle():
    assert cut("two\n  lines ") == "two lines"
    long = cut("begins " + "x\n" * 15_000 + " ends")
    assert long.startswith("begins x") and long.endswith("x ends") and len(long) <= LONGEST_MESSAGE
