"""Pictures that would take minutes or gigabytes are refused before they are decoded, whatever way they come in."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from fitprune_core.run import pictures
from fitprune_core.run.pictures import FORMATS, MAX_FILE_BYTES, open_picture
from fitprune_core.run.pixels import MAX_PIXELS
from tests.tiny import random_picture

MEGAPIXEL = (1024, 1025)


@pytest.fixture
def refused(monkeypatch):
    """Opens a picture that must be refused before anything is decoded, at once; returns why."""

    def refused(source) -> str:
        for kind in ("ImageFile.ImageFile", "TiffImagePlugin.TiffImageFile", "WebPImagePlugin.WebPImageFile"):
            monkeypatch.setattr(f"PIL.{kind}.load", lambda self: pytest.fail("decoded"))
        start = time.thread_time()
        with pytest.raises(ValueError) as raised:
            open_picture(source)
        assert time.thread_time() - start < 5
        message = str(raised.value)
        assert "\n" not in message and len(message) < 600
        return message

    return refused


def coded(image: Image.Image, form: str, **options) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    buffer.seek(0)
    return buffer


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.slow
def test_a_small_file_of_many_floats(refused):
    bomb = coded(Image.new("F", (9_459, 9_459)), "TIFF", compression="tiff_deflate")
    assert len(bomb.getvalue()) < 2**20
    assert "a picture may have up to 67,108,864 pixels" in refused(bomb)


def test_jpeg_2000_is_not_read(refused):
    message = refused(coded(random_picture(), "JPEG2000"))
    assert "in a format that is not read here" in message and "JPEG2000" not in FORMATS


@pytest.mark.parametrize(("form", "options"), [("WEBP", {"lossless": True}), ("TIFF", {"compression": "lzma"})])
def test_slow_formats_have_a_lower_limit(refused, form, options, monkeypatch):
    monkeypatch.setattr(pictures, "_MAX_SLOW_PIXELS", 2**10)
    assert "takes long, so it may have up to 1,024" in refused(coded(Image.new("RGB", (64, 32)), form, **options))


def run_length_bmp(width: int, height: int) -> io.BytesIO:
    """A BMP of 8 bits, run-length coded: as many rows of 32 black pixels as a small one has."""
    palette, data = bytes(1024), 16 * b"\x20\0\0\0" + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return io.BytesIO(struct.pack("<2sIHHI", b"BM", 1078 + len(data), 0, 0, 1078) + header + palette + data)


def test_decoders_in_python_have_the_lowest_limit(refused):
    assert open_picture(run_length_bmp(32, 16)).size == (32, 16)
    wide = io.BytesIO(b"P6 2 1 65535\n" + bytes.fromhex("ffff00000000 00000000ffff"))
    assert list(open_picture(wide).get_flattened_data()) == [(255, 0, 0), (0, 0, 255)]
    for bomb in (run_length_bmp(*MEGAPIXEL), io.BytesIO(b"P6 1024 1025 65535\n"), io.BytesIO(b"P3 1024 1025 255\n")):
        assert "is coded in a way" in refused(bomb)


def test_scans_of_a_progressive_jpeg_are_counted(refused):
    once = coded(Image.new("RGB", (1000, 1000), "red"), "JPEG", progressive=True).getvalue()
    assert pictures._scans(once) == 10
    assert open_picture(io.BytesIO(once)).getpixel((5, 5))[0] > 250
    last = once[once.rindex(b"\xff\xda") : -2]
    bomb = once[:-2] + 700 * last + b"\xff\xd9"
    assert len(bomb) < 10**6
    assert "goes over its 1,000,000 pixels 710 times" in refused(io.BytesIO(bomb))
    # What follows the picture (another one, a film) is none of its scans, nor are thumbnails before it.
    assert pictures._scans(once + bomb) == 10
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(once[:2000]) + 2) + once[:2000]
    assert pictures._scans(once[:2] + thumbnail + once[2:]) == 10


def tiff_of_strips(side: int, rows: int, strips: int) -> io.BytesIO:
    """An uncompressed grey TIFF whose strips all lie at one place."""
    data_at, offsets_at = 8, 8 + side * rows
    fields = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, offsets_at), (277, 1), (278, rows)]
    entries = [struct.pack("<HHII", tag, 4, strips if tag == 273 else 1, value) for tag, value in fields]
    directory_at = offsets_at + 4 * strips
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    offsets = struct.pack("<I", data_at) * strips
    return io.BytesIO(b"II*\0" + struct.pack("<I", directory_at) + bytes(side * rows) + offsets + directory)


@pytest.mark.slow
def test_strips_that_lie_upon_each_other(refused):
    assert open_picture(tiff_of_strips(1000, 500, 2)).size == (1000, 1000)
    assert "goes over its 1,000,000 pixels 1,000 times" in refused(tiff_of_strips(1000, 500, 2000))
    assert "is in 300,000 pieces" in refused(tiff_of_strips(100, 1, 300_000))


def test_tiffs_as_people_make_them_are_read():
    image = Image.new("RGB", (64, 48), (200, 30, 30))
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd"):
        opened = open_picture(coded(image, "TIFF", compression=compression))
        assert np.abs(np.subtract(opened.getpixel((5, 5)), (200, 30, 30))).max() < 8, compression


def test_bytes_are_bounded(tmp_path, refused):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert "has more than 134,217,728 bytes" in refused(path)


def test_a_stream_that_cannot_be_wound_back_is_read():
    data = coded(random_picture(), "PNG").getvalue()
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert np.array_equal(open_picture(pipe), random_picture())


def test_what_is_no_plain_file(tmp_path, refused):
    os.mkfifo(tmp_path / "pipe")
    assert "it is a pipe, not a file" in refused(tmp_path / "pipe")
    assert "it is a device, not a file" in refused("/dev/zero")
    assert "there is no file" in refused("a\0b")
    assert len(refused("iVBOR" * 3_000)) < 400


_MEASURE = """
import io, resource, sys
from PIL import Image
from fitprune_core.run.pictures import open_picture
mode, side, options = sys.argv[1], int(sys.argv[2]), {"compression": "tiff_deflate"}
exif = Image.Exif()
exif[0x0112] = 6
open_picture(sys.argv[3])  # what a small one takes
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
open_picture(sys.argv[4])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("mode", ["RGB", "F", "I", "RGBA", "CMYK", "I;16"])
@pytest.mark.slow
def test_memory_of_decoding_is_that_of_three_copies(tmp_path, mode):
    side, exif = 2048, Image.Exif()
    exif[0x0112] = 6
    small, large = tmp_path / "small.tif", tmp_path / "large.tif"
    for path, size in ((small, 8), (large, side)):
        Image.new(mode, (size, size)).save(path, "TIFF", compression="tiff_deflate", exif=exif)
    command = [sys.executable, "-c", _MEASURE, mode, str(side), small, large]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # At the largest picture that is read, 2**26 pixels, that is below a gigabyte.
    assert int(done.stdout) * 1024 < 3 * 4 * side**2 + 40e6
    assert MAX_PIXELS * 3 * 4 + 40e6 < 2**30
