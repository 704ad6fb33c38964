"""A samples file and its pictures in one zip: unpacked into a folder, bounded in everything before it is written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path, PurePosixPath

from fitprune_core.checks.files import check_plain_file
from fitprune_core.checks.words import named, shown

MOST_FILES = 20_000
MOST_BYTES = 2 * 2**30
SAMPLES = (".jsonl", ".csv", ".json")
_CHUNK = 2**20
# What programs put into an archive for themselves.
_NOISE = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


def unpack(archive: str | os.PathLike, folder: str | os.PathLike, most_bytes: int = MOST_BYTES) -> Path:
    """Unpack a zip into an empty `folder`, and return the path of its samples file there.

    The samples file is the one whose name ends in .jsonl, .csv or .json; `image` in it is relative to it. Raises
    ValueError, one sentence, for what is no zip, is damaged or encrypted, for a name that leads out of the folder, more
    than 20,000 files or `most_bytes` bytes (counted while they are written: what a header says may be wrong), and where
    there is no samples file, or more than one.
    """
    check_plain_file(archive, "zip")
    folder = Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not _is_noise(member)]
            if len(members) > MOST_FILES:
                raise ValueError(f"{named(archive)} holds {len(members):,} files; it may hold up to {MOST_FILES:,}")
            left = most_bytes
            for member in members:
                target = _target(member, folder, archive)
                target.parent.mkdir(parents=True, exist_ok=True)
                left -= _write(opened, member, target, left, archive, most_bytes)
    except (ValueError, MemoryError):
        raise
    except OSError as error:
        raise ValueError(f"{named(archive)} cannot be unpacked: {error.strerror or error}") from error
    except Exception as error:  # each way to compress has errors of its own
        raise ValueError(f"{named(archive)} is no zip that can be read: {error}") from error
    return _samples_file(folder, archive)


def _is_noise(member: zipfile.ZipInfo) -> bool:
    # A directory's name ends in a slash; `is_dir` of Python 3.11 cannot be asked about an empty name.
    return member.filename.endswith("/") or any(part in _NOISE for part in PurePosixPath(member.filename).parts)


def _target(member: zipfile.ZipInfo, folder: Path, archive: str | os.PathLike) -> Path:
    """Where a file goes; zipfile would quietly put one that leads out of the folder somewhere inside it."""
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if not name.parts:
        raise ValueError(f"{named(archive)} holds a file without a name, {shown(member.filename)}")
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
        raise ValueError(f"{named(archive)} holds {shown(member.filename)}, which leads out of its folder")
    return folder / name


def _write(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int, archive: str | os.PathLike, most: int
) -> int:
    """Unpack one file of at most `left` bytes; returns how many it has."""
    with opened.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            if file.tell() + len(chunk) > left:
                raise ValueError(f"{named(archive)} holds more than {most:,} bytes, unpacked")
            file.write(chunk)
        return file.tell()


def _samples_file(folder: Path, archive: str | os.PathLike) -> Path:
    found = sorted(path for path in folder.rglob("*") if path.suffix.casefold() in SAMPLES and path.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"{named(archive)} holds no samples file: none of its names ends in {', '.join(SAMPLES)}")
    names = ", ".join(path.name for path in found[:3])
    raise ValueError(f"{named(archive)} holds {len(found)} samples files ({named(names)}); it must hold one")
