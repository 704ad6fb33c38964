"""The one door for pictures from outside: files that were uploaded to this server, and data URLs.

Gradio lets a visitor name any file of the server in the value of a picture, and fetches what is on the web. Here every
value that an event receives is looked at before Gradio does anything with it, and every refusal is the same sentence,
so that nobody learns from it what lies on the server.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import stat
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import gradio as gr
from filelock import FileLock, Timeout
from gradio.utils import get_upload_folder
from PIL import Image

from app.settings import DEFAULTS, Limits
from fitprune_core import open_picture

_DATA, _SERVED = "data:", "/gradio_api/file="
_FOLDER, _LOCK = "fitprune-uploads-", ".lock"
_VARIABLE = "GRADIO_TEMP_DIR"
# Files that somebody works with, and by how many requests.
_held: Counter[Path] = Counter()
_held_lock = threading.Lock()


@contextlib.contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder for the uploads of one server, which no other server opens; it goes when the block ends.

    Those that servers left behind which were killed go when the next one begins. Enter it before the pages are made:
    Gradio reads then where its files go, from GRADIO_TEMP_DIR; where that is set, the folder lies in there.
    So of two servers in one process the later has to end first: its folder lies in that of the other.
    """
    before = os.environ.get(_VARIABLE)
    base = Path(before or tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    _clear_left_behind(base)
    folder = base / f"{_FOLDER}{uuid.uuid4().hex}"
    lock = Path(f"{folder}{_LOCK}")
    try:
        with FileLock(lock):
            folder.mkdir(mode=0o700)
            os.environ[_VARIABLE] = str(folder)
            yield folder
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)


def _clear_left_behind(base: Path) -> None:
    """Remove the folders of servers that are no more: the system gives their locks back, however they ended."""
    for lock in base.glob(f"{_FOLDER}*{_LOCK}"):
        with contextlib.suppress(Timeout, OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def refusal(limits: Limits) -> str:
    """The sentence for every picture that is not opened."""
    return f"This picture cannot be opened. Upload it or paste it here; it may have up to {limits.max_upload_mb} MB."


class Refused(gr.Error):
    """The answer to every picture that did not come in through an upload or a data URL."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(refusal(limits), print_exception=False)


@dataclass(frozen=True)
class Upload:
    """A picture that came in, not read yet: either a file of the upload folder, or the bytes of a data URL.

    `key` tells it from other pictures: the last two parts of the file's path, or "" for a data URL.
    """

    name: str
    path: Path | None = None
    data: bytes = b""
    limits: Limits = DEFAULTS

    @property
    def key(self) -> str:
        return "/".join(self.path.parts[-2:]) if self.path else ""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block its file is not removed to make room for others."""
        if self.path is None:
            yield
            return
        with _held_lock:
            _held[self.path] += 1
        try:
            yield
        finally:
            with _held_lock:
                _held[self.path] -= 1
                if not _held[self.path]:
                    del _held[self.path]

    def open(self) -> Image.Image:
        """The picture as `open_picture` reads it. Raises ValueError that names the picture, but no folder."""
        file = io.BytesIO(self._read())
        file.name = self.name  # what open_picture calls it
        return open_picture(file, self.limits.max_pixels)

    def _read(self) -> bytes:
        if self.path is None:
            return self.data
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ValueError(refusal(self.limits)) from error


def is_held(folder: Path) -> bool:
    """Whether somebody works with a file in a folder, see `Upload.held`."""
    with _held_lock:
        return any(path.is_relative_to(folder) for path in _held)


def check_values(values: Any, limits: Limits) -> None:
    """Look at everything that an event received, however deep. Raises `Refused` for a file that is not an upload.

    A dictionary that has a `path` or a `url` is a file, with or without the mark by which Gradio knows its own.
    """
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            waiting.extend(value)
        elif isinstance(value, dict):
            if value.get("path") is not None or value.get("url") is not None:
                _check_file(value.get("path"), value.get("url"), limits)
            waiting.extend(value.values())


def receive(path: str | None, url: str | None, limits: Limits) -> Upload:
    """A picture by what a visitor sent for it. Raises `Refused` for what is neither an upload nor a sound data URL."""
    if path is None and isinstance(url, str) and url.startswith(_DATA):
        return Upload("the picture", data=_bytes_of(url, limits), limits=limits)
    uploaded = _uploaded(path, limits)
    return Upload(uploaded.name, uploaded, limits=limits)


def receive_text(text: Any, limits: Limits) -> Upload:
    """A picture by what an agent sent for it: a data URL, or the address or the path that an upload was given here.

    Of an address only the path counts; nothing is fetched. Raises `Refused` for everything else.
    """
    if not isinstance(text, str):
        raise Refused(limits)
    if text.startswith(_DATA):
        return receive(None, text, limits)
    return receive(unquote(text.partition(_SERVED)[2]) if _SERVED in text else text, None, limits)


def _check_file(path: Any, url: Any, limits: Limits) -> None:
    if path is not None:
        _uploaded(path, limits)
    elif not (isinstance(url, str) and url.startswith(_DATA)):
        raise Refused(limits)


def _uploaded(path: Any, limits: Limits) -> Path:
    """A path, if links and dots lead to a plain file in the upload folder and no larger than an upload."""
    try:
        real, folder = Path(os.path.realpath(path, strict=True)), Path(os.path.realpath(get_upload_folder()))
        found = os.stat(real)
    except (OSError, ValueError, TypeError) as error:
        raise Refused(limits) from error
    is_plain = stat.S_ISREG(found.st_mode) and found.st_size <= limits.upload_bytes
    # Gradio puts every upload into a folder with a name that nobody can guess.
    if not (is_plain and os.path.isabs(path) and real.is_relative_to(folder) and real.parent != folder):
        raise Refused(limits)
    return real


def _bytes_of(url: str, limits: Limits) -> bytes:
    """What a data URL holds. Gradio would decode the picture, of whatever size, and encode it anew."""
    kind, _, text = url.partition(",")
    is_base64 = kind.endswith(";base64")
    if len(text) > limits.upload_bytes * (4 / 3 if is_base64 else 3) + 4:
        raise Refused(limits)
    try:
        data = base64.b64decode(text, validate=True) if is_base64 else unquote_to_bytes(text)
    except ValueError as error:
        raise Refused(limits) from error
    if len(data) > limits.upload_bytes:
        raise Refused(limits)
    return data
