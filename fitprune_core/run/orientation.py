"""How a picture file says that it has to be turned. Whatever else is written about a picture is none of our business.

Cameras, phones and editors write EXIF of every kind: fields of the wrong type, text where bytes belong, lengths that
reach beyond the end. None of that damages a picture, so only one field is looked for, and anything odd is passed over.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from PIL import ExifTags, Image, TiffTags

_TAG = int(ExifTags.Base.Orientation)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_XMP = ("xmp", "XML:com.adobe.xmp")
_SAYING = ("exif", "Raw profile type exif", *_XMP)
# Types of an EXIF field, and how the first number of one is written.
_BYTES, _TEXT, _SHORTS, _LONGS = (1, 6, 7), 2, (3, 8), (4, 9)


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """A picture, turned as an orientation says; where it had to be, the result says nothing of it any more."""
    turn = _TURNS.get(orientation)
    if turn is None:
        return image
    result = image.transpose(turn)
    result.info = {name: value for name, value in result.info.items() if name not in _SAYING}
    return result


def orientation_of(image: Image.Image) -> int:
    """A picture's orientation as EXIF numbers it, 1 (upright) to 8; 1 where none is given, or none that can be."""
    exif = image.info.get("exif")
    found = _from_exif(exif) if isinstance(exif, bytes) else None
    if found is None:
        # Pillow looks everywhere else: into a TIFF's own directory, old PNG text, XMP.
        with contextlib.suppress(Exception):
            found = image.getexif().get(_TAG)
    return _number(found)


def forget_odd_metadata(image: Image.Image) -> None:
    """Take away what Pillow would trip over when it loads a TIFF: XMP that is no text, directories that do not open."""
    for name in _XMP:
        if not isinstance(image.info.get(name, b""), bytes | str):
            del image.info[name]
    if image.format != "TIFF":
        return
    # What failed once is not tried again: the second call returns what was read.
    with contextlib.suppress(Exception):
        image.getexif()
    exif = image.getexif()
    for group in TiffTags.TAGS_V2_GROUPS:
        if group in exif:
            try:
                exif.get_ifd(group)
            except Exception:
                del exif[group]


def _from_exif(data: bytes) -> Any:
    """The orientation field of an EXIF block, or None. Pillow gives up at the first field that is odd."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 10:
        return None
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        return None
    (fields,) = struct.unpack_from(order + "H", data, start)
    for at in range(start + 2, min(start + 2 + 12 * fields, len(data) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag == _TAG:
            return _first_number(kind, data[at + 8 : at + 12], order)
    return None


def _first_number(kind: int, value: bytes, order: str) -> Any:
    if kind in _SHORTS:
        return struct.unpack(order + "H", value[:2])[0]
    if kind in _LONGS:
        return struct.unpack(order + "I", value)[0]
    return value if kind == _TEXT else value[0] if kind in _BYTES else None


def _number(value: Any) -> int:
    """An orientation as a number, for which 6, (6,), "6", b"6" and 6.0 may stand; 1 where none is meant."""
    if isinstance(value, tuple | list) and len(value) == 1:
        (value,) = value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        value = value.strip("\0 ")
        value = int(value) if value in set("12345678") else 1
    return next((number for number in range(1, 9) if value == number), 1)
