"""The entries of a samples file, one at a time, however large it is: JSON Lines, a JSON array, or CSV.

Nothing here knows what an entry means; `files` does.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from fitprune_core.checks.words import named, shown

# An entry is a question, an answer and some names; what is larger holds pictures, or is no samples file.
LARGEST_ENTRY = 2**20
_CHUNK = 2**16


def entries_of(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every entry of a file with its place in it ("line 3" or "entry 3"), read as far as it is asked for.

    A name that ends in .csv is CSV; a file that begins with "[" is one JSON array; anything else is JSON Lines.
    columns: what a CSV must name in its first line. Raises ValueError naming the file and the place, for what is not an
    object, is larger than a mebibyte, or no UTF-8.
    """
    # The signature (byte order mark) that Windows programs write is no part of the text.
    with path.open(encoding="utf-8-sig", newline="") as file:
        where = ""
        try:
            if path.suffix.casefold() == ".csv":
                found = _rows(file, columns)
            elif _first_character(file) == "[":
                found = _elements(file)
            else:
                found = _lines_of_json(file)
            for where, entry in found:
                if not isinstance(entry, dict):
                    raise _Misplaced(f"{where}: not a JSON object: {shown(entry)}")
                yield where, entry
        except _Misplaced as error:
            raise ValueError(f"{named(path)}, {error}") from error
        except UnicodeDecodeError as error:
            # A file is decoded in pieces, so an error says nothing of the line; what was read before is known.
            place = f"{named(path)}, after {where}" if where else named(path)
            raise ValueError(f"{place}: it is no text in UTF-8{_other_encoding(path)}; save it as UTF-8") from error


def _other_encoding(path: Path) -> str:
    """A word about a file that is no UTF-8, where its first bytes tell what it is instead."""
    with path.open("rb") as file:
        return " but in UTF-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else ""


class _Misplaced(ValueError):
    """What is wrong, after the place where it is."""


class _NoNumber(ValueError):
    """A number of Python's that JSON has no word for."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NoNumber(f"it holds {name}, which is no JSON; write a number, a text in quotes, or null")


def _first_character(file: TextIO) -> str:
    """The first character that is no white space; the file is then at its beginning again."""
    while (text := file.read(_CHUNK)) and not text.strip():
        pass
    file.seek(0)
    return text.lstrip()[:1]


def _lines(file: TextIO) -> Iterator[tuple[str, str]]:
    number = 0
    while line := file.readline(LARGEST_ENTRY + 1):
        number += 1
        if len(line) > LARGEST_ENTRY:
            raise _Misplaced(f"line {number}: it has more than {LARGEST_ENTRY:,} characters, which no sample has")
        yield f"line {number}", line


def _lines_of_json(file: TextIO) -> Iterator[tuple[str, Any]]:
    for where, line in _lines(file):
        if line.strip():
            try:
                yield where, json.loads(line, parse_constant=_refuse_constant)
            except _NoNumber as error:
                raise _Misplaced(f"{where}: {error}") from error
            except (ValueError, RecursionError) as error:
                spread = "; one object a line, or all of them in one array" if line.strip() in ("{", "[") else ""
                raise _Misplaced(f"{where}: not a JSON object: {shown(line.strip())}{spread}") from error


def _rows(file: TextIO, columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The rows of a CSV file by its first line, without the columns that a row leaves empty.

    Upper case and white space around the names of columns do not matter; those of `columns` must be there.
    """
    reader = csv.DictReader((line for _, line in _lines(file)), strict=True)
    try:
        names = [name.strip().casefold() for name in reader.fieldnames or []]
        if len(names) == 1 and any(sign in names[0] for sign in ";\t"):
            raise _Misplaced(f"line 1: its columns must be separated by commas: {shown(names[0])}")
        if names and (missing := [name for name in columns if name not in names]):
            which = f"column {missing[0]}" if len(missing) == 1 else f"columns {', '.join(missing)}"
            raise _Misplaced(
                f"line 1: it names no {which}; the first line of a CSV names its columns, and this one has "
                f"{', '.join(map(shown, names[:8]))}"
            )
        reader.fieldnames = names
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise _Misplaced(f"{where}: it has more or fewer columns than the first line")
            yield where, {name: value for name, value in row.items() if value}
    except csv.Error as error:
        raise _Misplaced(f"line {reader.reader.line_num}: {error}") from error


def _elements(file: TextIO) -> Iterator[tuple[str, Any]]:
    """The elements of a JSON array, of which one is in memory at a time."""
    decoder, text, number = json.JSONDecoder(parse_constant=_refuse_constant), _Window(file), 0
    text.expect("[", "the first line")
    if text.peek() == "]":
        return
    while True:
        number += 1
        where = f"entry {number}"
        if text.peek() != "{":
            raise _Misplaced(f"{where}: not a JSON object: {shown(text.ahead())}")
        yield where, text.take(decoder, where)
        if text.expect(",]", where) == "]":
            break
    if text.peek():
        raise _Misplaced(f"{where}: something follows the end of the array: {shown(text.ahead())}")


class _Window:
    """The part of a file that a JSON parser looks at, which grows until the value that begins there is whole."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0

    def ahead(self) -> str:
        """Some of what follows, for a message."""
        return self._text[self._at : self._at + _CHUNK].strip()

    def peek(self) -> str:
        """The next character that is no white space, or nothing at the end; the window begins there."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            self._text, self._at = self._file.read(_CHUNK), 0
            if not self._text:
                return ""

    def expect(self, characters: str, where: str) -> str:
        """Take one of these characters. Raises ValueError where something else comes."""
        found = self.peek()
        if not found or found not in characters:
            what = shown(self.ahead()) if found else "the end of the file"
            raise _Misplaced(f"{where}: it is followed by {what}, not by {' or '.join(characters)}")
        self._at += 1
        return found

    def take(self, decoder: json.JSONDecoder, where: str) -> Any:
        """Take one value. Raises ValueError for what is no JSON, nested too deep, or too large."""
        while True:
            try:
                value, self._at = decoder.raw_decode(self._text, self._at)
                return value
            except RecursionError as error:
                raise _Misplaced(f"{where}: its JSON is nested too deep to be read") from error
            except _NoNumber as error:
                raise _Misplaced(f"{where}: {error}") from error
            except ValueError as error:
                if len(self._text) - self._at > LARGEST_ENTRY:
                    raise _Misplaced(
                        f"{where}: not a JSON object of at most {LARGEST_ENTRY:,} characters: {shown(self.ahead())}"
                    ) from error
                # Twice as much each time, so that a long value is not parsed again and again.
                more = self._file.read(max(len(self._text) - self._at, _CHUNK))
                if not more:
                    raise _Misplaced(f"{where}: not a JSON object: {shown(self.ahead())}") from error
                self._text, self._at = self._text[self._at :] + more, 0
