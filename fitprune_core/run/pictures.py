"""Picture files, opened as RGB pixels or refused with a sentence. Bytes, pixels and time are bounded beforehand."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from fitprune_core.checks.files import check_plain_file
from fitprune_core.checks.words import cut, named, shown
from fitprune_core.run.orientation import forget_odd_metadata
from fitprune_core.run.pixels import MAX_PIXELS, check_size, damage_explained, load_rgb

# Formats that Pillow decodes by itself, in a time that their size bounds; others (EPS, for one) start another program,
# and a JPEG 2000 of a kilobyte can take half a minute, which nothing in its header tells.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_TIFF_COMPRESSIONS = frozenset(
    ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma", "webp", "jpeg")
    + ("tiff_ccitt", "group3", "group4")
)

MAX_FILE_BYTES = 128 * 2**20
# Decoders that take some 0.3 microseconds a pixel where others take 0.03.
_SLOW = frozenset(("WEBP", "AVIF", "webp", "lzma"))
_MAX_SLOW_PIXELS = MAX_PIXELS // 2
# Decoders that Pillow wrote in Python: run-length BMP, and PPM as text or of other than 8 bits.
_IN_PYTHON = frozenset(("bmp_rle", "ppm", "ppm_plain"))
_MAX_PYTHON_PIXELS, _MAX_PYTHON_BYTES = 2**20, 2**23
# A progressive JPEG goes over all pixels in each of its scans, of which encoders write ten. TIFF strips, and tiles, may
# overlap, so the same pixels can be decoded many times.
_MAX_PASSES = 10
_MAX_TILES = 2**18

# In a JPEG, a marker that begins something: neither an 0xff of the data, nor a restart, nor filling.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")


def open_picture(source: str | os.PathLike | BinaryIO, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture file as RGB pixels, upright.

    source: a path, or an open binary file. max_pixels: how many pixels it may have, `MAX_PIXELS` at most. Of an
    animation the first frame is read; see `load_rgb` for the rest. How large it is, and how long it would take, is
    looked at before anything is decoded. Raises ValueError, one sentence that names the file, for one that is missing,
    empty, damaged, too large, or no picture. Odd EXIF is no damage.
    """
    name = _name_of(source)
    with _opened(source, name) as file:
        image = _identified(file, name)
        check_size(image, name, max_pixels)
        with damage_explained(name):
            forget_odd_metadata(image)
            effort = _effort(image, file)
        if effort:
            raise ValueError(f"{named(name)} {effort}")
        return load_rgb(image, name)


@contextmanager
def _opened(source: str | os.PathLike | BinaryIO, name: str) -> Iterator[BinaryIO]:
    """The file of a picture, at its beginning, if it is plain and of a size that a picture has."""
    if isinstance(source, str | os.PathLike):
        _check_bytes(_plain_size(source, name), name)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(open(source, "rb"))
            except OSError as error:
                raise ValueError(f"{named(name)} cannot be read: {error.strerror or error}") from error
            yield file
        return
    if not hasattr(source, "read"):
        raise ValueError(f"a picture is opened from a path or a binary file, not from {shown(source)}")
    if not source.seekable():
        source = io.BytesIO(source.read(MAX_FILE_BYTES + 1))
    _check_bytes(source.seek(0, os.SEEK_END), name)
    source.seek(0)
    yield source


def _plain_size(path: str | os.PathLike, name: str) -> int:
    if os.path.isdir(path):
        raise ValueError(f"{named(name)} is a folder, not a picture")
    if not os.path.exists(path):
        raise ValueError(f"there is no file {named(name)}")
    return check_plain_file(path, "the picture")


def _check_bytes(size: int, name: str) -> None:
    if not size:
        raise ValueError(f"{named(name)} is empty")
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{named(name)} has more than {MAX_FILE_BYTES:,} bytes, which a picture may have")


def _identified(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Read a file's header. Raises ValueError for what is no picture."""
    try:
        with damage_explained(name, but=(OSError, Image.DecompressionBombError)):
            return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        words = f"is not a picture, or in a format that is not read here ({', '.join(FORMATS)})"
        raise ValueError(f"{named(name)} {words}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{named(name)} has far more pixels than a picture may have, {MAX_PIXELS:,}") from error
    except OSError as error:
        raise ValueError(f"{named(name)} cannot be read: {cut(error.strerror or str(error))}") from error


def _effort(image: ImageFile.ImageFile, file: BinaryIO) -> str:
    """Why a picture would take too long to decode, in words, or nothing: the limits above, by format and way of coding.

    On one core of a common machine, what passes takes some ten seconds at most; pictures as people make them, tenths.
    """
    pixels = image.width * image.height
    codec = image.tile[0][0] if image.tile else ""
    compression = image.info.get("compression") if image.format == "TIFF" else None
    if compression is not None and compression not in _TIFF_COMPRESSIONS:
        return f"is a TIFF with {compression} compression, which is not read here"
    if codec in _IN_PYTHON and (pixels > _MAX_PYTHON_PIXELS or _size(file) > _MAX_PYTHON_BYTES):
        return f"is coded in a way ({codec}) that takes long; it may have up to {_MAX_PYTHON_PIXELS:,} pixels"
    if {image.format, compression} & _SLOW and pixels > _MAX_SLOW_PIXELS:
        coded = compression or image.format
        return f"has {pixels:,} pixels; {coded} takes long, so it may have up to {_MAX_SLOW_PIXELS:,}"
    if len(image.tile) > _MAX_TILES:
        return f"is in {len(image.tile):,} pieces; it may be in up to {_MAX_TILES:,}"
    passes = _passes(image, file, compression)
    if passes * pixels > _MAX_PASSES * MAX_PIXELS:
        return f"goes over its {pixels:,} pixels {passes:,.0f} times; together that may be {_MAX_PASSES * MAX_PIXELS:,}"
    return ""


def _passes(image: ImageFile.ImageFile, file: BinaryIO, compression: str | None) -> float:
    """How often a decoder goes over all pixels of a picture."""
    if image.format in ("JPEG", "MPO"):
        return _scans(_whole(file))
    if compression == "jpeg" and isinstance(image, TiffImageFile):
        # Each strip or tile is a JPEG of its own, and all are equally large.
        pieces = max((len(image.tag_v2.get(tag, ())) for tag in _OFFSETS), default=1)
        return _whole(file).count(b"\xff\xda") / max(pieces, 1)
    boxes = [tile[1] or (0, 0, *image.size) for tile in image.tile]
    covered = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    return covered / (image.width * image.height)


# Tags of a TIFF that say where its strips, and its tiles, are.
_OFFSETS = (273, 324)


def _scans(data: bytes) -> int:
    """Scans of the first picture in JPEG data."""
    at, scans = 2, 0
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            break
        at += max(int.from_bytes(data[at : at + 2]), 2)
        scans += marker == 0xDA
    return scans


def _whole(file: BinaryIO) -> bytes:
    before = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(before)
    return data


def _size(file: BinaryIO) -> int:
    before = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(before)
    return size


def _name_of(source: str | os.PathLike | BinaryIO) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "the picture"
