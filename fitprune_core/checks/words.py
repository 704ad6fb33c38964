"""Values and names in messages: never longer than a reader wants them, whatever came in."""

from __future__ import annotations

import re
import reprlib
from typing import Any

LONGEST_VALUE = 80
LONGEST_NAME = 240
LONGEST_MESSAGE = 800


class _Repr(reprlib.Repr):
    """repr() that stops early: at a depth, after some items, and long before a text of megabytes is quoted whole."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 4 * LONGEST_VALUE
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = LONGEST_VALUE // 2

    def repr_str(self, value: str, level: int) -> str:
        return repr(value[:LONGEST_VALUE])

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write out a number of thousands of digits.
        return repr(value) if value.bit_length() < 4 * LONGEST_VALUE else f"a number of {value.bit_length():,} bits"


def shown(value: Any) -> str:
    """A value as it would be typed, cut to 80 characters where it is longer: for whatever a message quotes."""
    text = _Repr().repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def named(name: Any) -> str:
    """A name without quotes, such as a path: whole up to 240 characters, else its beginning and its end.

    What would not be seen in it, such as a line break, is written as in Python's strings.
    """
    text = _without_middle(str(name), LONGEST_NAME)  # first, for a name may have megabytes
    seen = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return _without_middle(seen, LONGEST_NAME)


def cut(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """A text on one line of at most so many characters: what is too long loses its middle.

    White space with more than plain spaces in it, such as a line break, becomes one; plain spaces stay, for names have
    them.
    """
    # Looked for from the first space of a run alone: from each of a million they would be gone through again.
    return _without_middle(re.sub(r"(?<! ) *[^\S ]\s*", " ", text.strip()), longest)


def plural(what: str, number: int) -> str:
    """ "sample" of one, else "samples"."""
    return what if number == 1 else f"{what}s"


def _without_middle(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    part = max(longest - 3, 0) // 2
    return f"{text[:part]}...{text[len(text) - part :]}"[:longest]
