"""Files that a user names: plain ones to read, places to write to, and JSON of a bounded size and depth."""

from __future__ import annotations

import glob
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fitprune_core.checks.words import named, shown

# Far above any recipe or configuration; a file that is larger is something else.
LARGEST_JSON = 16 * 2**20
# How the name of an exported comparison ends: data, a page, a picture of one layer, an animation through the layers.
EXPORTS = (".json", ".html", ".png", ".gif", ".webp")
# How some of them begin, white space apart; pictures of ours look like anybody's.
_EXPORT_BEGINS = {".json": b'{"format":"fitprune-comparison"', ".html": b"<!doctypehtml>"}

# Of the name that a writer has for itself.
_DIGITS = 8

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
}


def path_of(given: Any, what: str) -> Path:
    """A path as somebody gives it. what: what it is of, in words. Raises ValueError for what is none."""
    if not isinstance(given, str | os.PathLike):
        raise ValueError(f"{what} is {shown(given)}; give a path")
    return Path(given)


def place_of(path: str | os.PathLike) -> Path:
    """The file that a path leads to through all links, whether it is there or not: one place by whatever name."""
    return Path(os.path.realpath(path))


def check_plain_file(path: str | os.PathLike, what: str) -> int:
    """Return the size in bytes of a file to be read. A device or a pipe would never end, or be empty the second time.

    what: what the file is for, in words, such as "samples". Raises ValueError, one sentence, for what is no path, a
    file that is not there, and a folder, a device, a pipe or a socket.
    """
    path = path_of(path, what)
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {what} {named(path)}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"cannot read {what} {named(path)}: it is {_kind(found.st_mode)}, not a file")
    return found.st_size


def check_output(
    path: str | os.PathLike, *, inputs: Iterable[str | os.PathLike | None] = (), begins: bytes = b"", what: str = ""
) -> None:
    """Raise ValueError, before any work is done, if a file cannot be written here, or would destroy another.

    inputs: files that are read for it; none of them is written over. begins: what a file of this kind begins with, but
    for white space, and what: its name in words; a file that is there and begins otherwise is not written over.
    """
    path = path_of(path, "the file to write")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:
        raise ValueError(f"{named(path)} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    if mode is not None and not stat.S_ISREG(mode):
        raise ValueError(f"{named(path)} is {_kind(mode)}; name a file to write")
    if mode is not None:
        _check_overwriting(path, inputs, begins, what)
    folder = next(parent for parent in place_of(path).parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{named(path)} cannot be written: {named(folder)} is no folder that may be written to")


def check_export(path: str | os.PathLike, *, inputs: Iterable[str | os.PathLike | None] = ()) -> Path:
    """Raise ValueError, before any work is done, for a path that an export cannot be written to; returns it.

    inputs: as for `check_output`.
    """
    path = path_of(path, "the file to write")
    ending = path.suffix.casefold()
    if ending not in EXPORTS:
        raise ValueError(f"{named(path)} ends in {path.suffix!r}; a comparison is exported to {', '.join(EXPORTS)}")
    check_output(path, inputs=inputs, begins=_EXPORT_BEGINS.get(ending, b""), what="an exported comparison")
    return path


def _check_overwriting(path: Path, inputs: Iterable[str | os.PathLike | None], begins: bytes, what: str) -> None:
    for given in inputs:
        if given is not None and os.path.exists(given) and os.path.samefile(path, given):
            raise ValueError(f"{named(path)} is read here, and would be written over; name another file")
    try:
        with path.open("rb") as file:
            head = file.read(200).removeprefix(b"\xef\xbb\xbf").split()
    except OSError as error:
        raise ValueError(f"{named(path)} cannot be written: {error.strerror or error}") from error
    if head and not b"".join(head).startswith(begins):
        raise ValueError(f"{named(path)} is there and is not {what}; name another file, or remove it")


@contextmanager
def writing_explained(path: str | os.PathLike) -> Iterator[None]:
    """Let an OSError of what is done for the sake of a file name that one, and not what lies beside it meanwhile."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {named(path)}: {error.strerror or error}") from error


@contextmanager
def written_whole(path: str | os.PathLike, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """A file to write, which takes the place of `path` when the block ends, on the disk from end to end.

    Until then, and where the block fails, what is at `path` stays as it is; of several who write at once, the last to
    end has it. Of a link it is the file that it leads to. Folders are made as needed. mode: "wb" or "w"; options: as
    for `open`. Raises ValueError for what is no path, OSError, naming the file, for what cannot be written.
    """
    path = path_of(path, "the file to write")
    place = place_of(path)
    # A name for each writer, in the same folder: only there can a file take another's place at once. tempfile would
    # make it for this user alone to read.
    partial = place.with_name(f"{place.name}.{secrets.token_hex(_DIGITS // 2)}.partial")
    with writing_explained(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open(mode.replace("w", "x"), **options)
    try:
        with file:
            yield file
            with writing_explained(path):
                file.flush()
                os.fsync(file.fileno())
        with writing_explained(path):
            partial.replace(place)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove_partials(path: str | os.PathLike) -> None:
    """Remove what writers of a file that were killed have left beside it; for who knows that no other writes it now."""
    place = place_of(path)
    for partial in place.parent.glob(f"{glob.escape(place.name)}.{'[0-9a-f]' * _DIGITS}.partial"):
        partial.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Write a file whole or not at all, text in UTF-8; see `written_whole`."""
    with written_whole(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def read_json(path: str | os.PathLike, what: str) -> Any:
    """What a JSON file holds, as `parse_json` reads it. Raises ValueError naming the file and what is wrong with it."""
    size = check_plain_file(path, what)
    if size > LARGEST_JSON:
        raise ValueError(f"{what} {named(path)} has {size:,} bytes; it may have up to {LARGEST_JSON:,}")
    try:
        return parse_json(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read {what} {named(path)}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{what} {named(path)}: {error}") from error


def parse_json(text: str | bytes) -> Any:
    """Read JSON, in UTF-8 where it is bytes. Raises ValueError for what is none, and for what is nested too deep."""
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deep to be read") from error
    except json.JSONDecodeError as error:
        around = error.doc[max(error.pos - 10, 0) : error.pos + 30]
        raise ValueError(f"it is not JSON: {error.msg} near {shown(around)}, line {error.lineno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not JSON in UTF-8: byte {error.start + 1} is {error.object[error.start]:#x}"
        ) from error


def _kind(mode: int) -> str:
    return next((words for is_kind, words in _KINDS.items() if is_kind(mode)), "no plain file")
