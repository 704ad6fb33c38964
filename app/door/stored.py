"""What visitors leave on the disk is bounded in total: the oldest goes first, but nothing that somebody works with."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from app.door.uploads import is_held
from app.settings import Limits

# Gradio's folder for a file, named by what is in it.
_OF_A_FILE = re.compile(r"[0-9a-f]{64}")
# Seconds after the last byte in which a file that is not in its folder yet may still be on its way there.
_ARRIVING = 60.0
# Bytes charged for each entry beside its own, because thousands of tiny files cost time to look through.
_ENTRY = 4096


def make_room(
    entries: Iterable[Path],
    most: int,
    is_needed: Callable[[Path], bool],
    measured: Callable[[Path], tuple[float, int]] | None = None,
    remove: Callable[[Path], bool] | None = None,
) -> int:
    """Remove the oldest of some files and folders until they take no more than `most` bytes; what is needed stays.

    measured: when an entry was changed last, and its bytes; all that is in it is looked at where nobody knows.
    remove: removes an entry, and says whether it could.
    Returns the bytes that are left: more than `most` where so many are needed.
    """
    found = sorted((*(measured or _changed_and_size)(entry), entry) for entry in entries)
    left = sum(size for _, size, _ in found)
    for _, size, entry in found:
        if left <= most:
            break
        if not is_needed(entry) and (remove or _remove)(entry):
            left -= size
    return left


def _changed_and_size(entry: Path) -> tuple[float, int]:
    """When a file or a folder was changed last, and the bytes that it takes; links are not followed."""
    paths = [str(entry)]
    if not entry.is_symlink():
        paths += [os.path.join(here, name) for here, folders, files in os.walk(entry) for name in (*folders, *files)]
    changed, size = 0.0, 0
    for path in paths:
        with contextlib.suppress(OSError):  # another request removed it
            found = os.lstat(path)
            # What it takes on the disk, which of small files is more than what is in them, and its place in a folder.
            taken = max(found.st_size, 512 * getattr(found, "st_blocks", 0)) + _ENTRY
            changed, size = max(changed, found.st_mtime), size + taken
    return changed, size


def _remove(entry: Path) -> bool:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
    return True


class UploadsRoom:
    """The room for uploads, and for pictures that the app drew, in one server's folder.

    What lies there when it is made, such as the picture that the page begins with, stays and is not counted. Methods
    may be called from any thread.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self._own = set(folder.iterdir()) if folder.is_dir() else set()
        self._coming = 0  # bytes of uploads that are on their way
        self._measured: dict[Path, tuple[int, tuple[float, int]]] = {}  # see `_measure`
        self._lock = threading.Lock()

    def expect(self, size: int) -> int:
        """Make room for an upload of up to `size` bytes; returns how many to give to `arrived` once it is over.

        Raises ValueError, in words, where everything that is there is being worked with.
        """
        size = min(size, self.limits.stored_bytes)
        with self._lock:
            self._coming += size
            if self._make_room() + self._coming <= self.limits.stored_bytes:
                return size
            self._coming -= size
        most = f"{self.limits.max_stored_mb:,} MB of files, as many as it may"
        raise ValueError(f"This server holds {most}, and all are being worked with. Try again in a minute.")

    def arrived(self, size: int) -> None:
        """An upload is over: it is there, or was refused."""
        with self._lock:
            self._coming -= size

    def tidy(self) -> None:
        """Remove what is too much."""
        with self._lock:
            self._make_room()

    def _make_room(self) -> int:
        if not self.folder.is_dir():
            return 0
        entries = [entry for entry in self.folder.iterdir() if entry not in self._own]
        counted = [entry for entry in entries if _OF_A_FILE.fullmatch(entry.name) or entry.is_file()]
        before, self._measured = self._measured, {}
        return make_room(counted, self.limits.stored_bytes - self._coming, _is_needed, partial(self._measure, before))

    def _measure(self, before: dict[Path, tuple[int, tuple[float, int]]], entry: Path) -> tuple[float, int]:
        """As it was found `before`, unless something came into the entry or left it since: Gradio writes elsewhere and
        moves. So an upload costs one look at each of thousands of pictures, not a walk through their folders."""
        try:
            changed = entry.lstat().st_mtime_ns
        except OSError:  # another request removed it
            return 0.0, 0
        known = before.get(entry)
        measured = known[1] if known is not None and known[0] == changed else _changed_and_size(entry)
        self._measured[entry] = changed, measured
        return measured


def _is_needed(entry: Path) -> bool:
    """Whether somebody works with an entry of the folder, or it is on its way in."""
    with contextlib.suppress(OSError):
        if entry.is_file():
            return time.time() - entry.stat().st_mtime < _ARRIVING
    return is_held(entry)
