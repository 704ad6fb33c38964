"""Whatever cameras and editors write about a picture: it is turned as it should be, and everything else is ignored."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fitprune_core.run.orientation import orientation_of
from fitprune_core.run.pictures import open_picture
from fitprune_core.run.pixels import load_rgb
from tests.tiny import random_picture

UPRIGHT = random_picture(30, 20)
TURNED = UPRIGHT.transpose(Image.Transpose.ROTATE_90)
# Description, maker, resolution, software, date, artist, XMP, copyright, profile, Exif, GPS, Interop, Print-IM.
TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 700, 33432, 34675, 34665, 34853, 40965, 50341)
SIX = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)


def field(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value


def exif_of(fields: list[bytes], rest: bytes = b"") -> bytes:
    fields = sorted(fields, key=lambda one: struct.unpack("<H", one[:2]))
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(fields) + b"\0\0\0\0" + rest


def odd_exif(rng: random.Random) -> bytes:
    """Orientation 6 among fields of any type and length, whose data may lie beyond the end."""
    fields = [SIX]
    for tag in rng.sample(TAGS, 8):
        where = struct.pack("<I", rng.choice([0, 8, 50, 10**6]))
        value = rng.randbytes(4) if rng.random() < 0.5 else where
        fields.append(field(tag, rng.randrange(17), rng.choice([0, 1, 2, 4, 5, 100, 2**31]), value))
    return exif_of(fields, rng.randbytes(60))


def saved(name: str, **options) -> bytes:
    buffer = io.BytesIO()
    TURNED.save(buffer, name, **options)
    return buffer.getvalue()


def as_jpeg(exif: bytes) -> bytes:
    plain, segment = saved("JPEG", quality=100, subsampling=0), b"Exif\0\0" + exif
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]


def as_png(exif: bytes) -> bytes:
    plain, chunk = saved("PNG"), b"eXIf" + exif
    return plain[:33] + struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]


def as_webp(exif: bytes) -> bytes:
    return saved("WEBP", lossless=True, exif=exif)


def as_tiff(fields: list[bytes], compression: str | None) -> bytes:
    """A TIFF with more fields in its own directory, which is written anew at the end."""
    plain = saved("TIFF", compression=compression)
    (start,) = struct.unpack_from("<I", plain, 4)
    (count,) = struct.unpack_from("<H", plain, start)
    own = [plain[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    plain += b"\0" * (len(plain) % 2)
    directory = exif_of(own + fields)[8:]
    return plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + directory


@pytest.mark.parametrize("form", [as_jpeg, as_png, as_webp])
def test_odd_exif_is_no_damage_and_the_picture_is_turned(form):
    rng = random.Random(0)
    expected = load_rgb(Image.open(io.BytesIO(form(exif_of([SIX])))))
    assert expected.size == UPRIGHT.size
    assert np.abs(np.asarray(expected, dtype=int) - np.asarray(UPRIGHT)).mean() < 2
    for _ in range(120):
        opened = open_picture(io.BytesIO(form(odd_exif(rng))))
        assert np.array_equal(opened, expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_odd_fields_of_a_tiff_are_no_damage(compression):
    rng = random.Random(0)
    odd = [field(tag, kind, 1, rng.randbytes(4)) for tag in (700, 34665, 34853) for kind in (1, 3, 4, 5, 7, 11)]
    for one in odd:
        opened = open_picture(io.BytesIO(as_tiff([one, SIX], compression)))
        assert np.array_equal(opened, UPRIGHT)


@pytest.mark.parametrize(
    ("kind", "value", "orientation"),
    [(3, b"\6\0\0\0", 6), (4, b"\6\0\0\0", 6), (1, b"\6\0\0\0", 6), (7, b"\6\0\0\0", 6), (2, b"6\0\0\0", 6),
     (2, b"six\0", 1), (3, b"\0\0\0\0", 1), (3, b"\t\0\0\0", 1), (12, b"\6\0\0\0", 1), (99, b"\6\0\0\0", 1)],
)  # fmt: skip
def test_the_orientation_itself_may_be_of_any_type(kind, value, orientation):
    image = Image.new("RGB", (4, 3))
    image.info["exif"] = exif_of([field(0x0112, kind, 1, value)])
    assert orientation_of(image) == orientation


@pytest.mark.parametrize("exif", [b"", b"I", b"II*\0", b"Exif\0\0MM\0*\xff\xff\xff\xff\0\0", "text", 7, None, [6]])
def test_exif_that_is_none_is_ignored(exif):
    image = Image.new("RGB", (4, 3))
    image.info["exif"] = exif
    assert load_rgb(image).size == (4, 3)


def test_orientation_in_xmp_is_read_and_a_picture_is_turned_once():
    image = TURNED.copy()
    image.info["xmp"] = b'<x tiff:Orientation="6"/>'
    once = load_rgb(image)
    assert np.array_equal(once, UPRIGHT)
    assert np.array_equal(load_rgb(once), UPRIGHT)
    for odd in ((1.5,), 7, ["x"]):
        image = TURNED.copy()
        image.info["xmp"] = odd
        assert np.array_equal(load_rgb(image), TURNED)
