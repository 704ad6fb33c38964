"""Pictures as people hand them over: every kind is read as it looks, or refused with a sentence that names the file."""

from __future__ import annotations

import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from fitprune_core.run.pictures import open_picture
from fitprune_core.run.pixels import MAX_ASPECT, MAX_SIDE, load_rgb
from fitprune_core.run.questions import check_question
from tests.tiny import random_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def halves(left, right, size=(8, 4), mode="RGB"):
    """A picture whose left half has one colour and whose right half another."""
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_lossless_formats_come_back_pixel_for_pixel(tmp_path, name):
    image = random_picture(17, 9)
    assert np.array_equal(open_picture(saved(tmp_path / name, image)), image)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.avif"])
def test_lossy_formats_come_back_alike(tmp_path, name):
    image = halves(RED, BLUE, (64, 32))
    opened = open_picture(saved(tmp_path / name, image))
    assert opened.mode == "RGB"
    assert np.abs(np.asarray(opened, int)[:, 4:-4] - np.asarray(image, int)[:, 4:-4])[:, :16].mean() < 12


def test_open_file_is_read(tmp_path):
    image = random_picture()
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    buffer.seek(0)
    assert np.array_equal(open_picture(buffer), image)


def test_one_pixel_and_ten_to_one_are_pictures(tmp_path):
    assert open_picture(saved(tmp_path / "dot.png", Image.new("RGB", (1, 1), RED))).size == (1, 1)
    assert open_picture(saved(tmp_path / "wide.png", Image.new("RGB", (1000, 100)))).size == (1000, 100)


def test_palette_is_resolved(tmp_path):
    opened = open_picture(saved(tmp_path / "p.png", halves(RED, BLUE).convert("P", palette=Image.Palette.ADAPTIVE)))
    assert opened.getpixel((0, 0)) == RED
    assert opened.getpixel((7, 0)) == BLUE


def test_transparent_palette_lies_on_white(tmp_path):
    image = halves(RED, BLUE).convert("P", palette=Image.Palette.ADAPTIVE)
    path = saved(tmp_path / "p.gif", image, transparency=image.getpixel((0, 0)))
    opened = open_picture(path)
    assert opened.getpixel((0, 0)) == WHITE
    assert opened.getpixel((7, 0)) == BLUE


def test_alpha_lies_on_white(tmp_path):
    image = halves((255, 0, 0, 0), (0, 0, 255, 255), mode="RGBA")
    opened = open_picture(saved(tmp_path / "a.png", image))
    assert opened.getpixel((0, 0)) == WHITE
    assert opened.getpixel((7, 0)) == BLUE
    half = load_rgb(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    assert half.getpixel((0, 0)) == (127, 127, 127)
    assert load_rgb(Image.new("LA", (2, 2), (0, 0))).getpixel((1, 1)) == WHITE


def test_cmyk_and_bilevel(tmp_path):
    opened = open_picture(saved(tmp_path / "c.tif", Image.new("CMYK", (4, 4), (0, 255, 255, 0))))
    assert opened.getpixel((0, 0)) == RED
    assert open_picture(saved(tmp_path / "b.png", Image.new("1", (4, 4), 1))).getpixel((0, 0)) == WHITE


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None, :].repeat(4, axis=0)
    for name in ("ramp.png", "ramp.tif"):
        opened = open_picture(saved(tmp_path / name, Image.fromarray(ramp)))
        assert np.array_equal(np.asarray(opened)[0, :, 1], np.arange(256)), name


def test_wide_greys_are_spread(tmp_path):
    ramp = np.linspace(-1.0, 3.0, 256, dtype=np.float32)[None, :].repeat(3, axis=0)
    opened = open_picture(saved(tmp_path / "f.tif", Image.fromarray(ramp)))
    assert np.array_equal(np.asarray(opened)[0, :, 0], np.arange(256))
    assert load_rgb(Image.new("F", (3, 3), 7.0)).getpixel((0, 0)) == (0, 0, 0)
    assert load_rgb(Image.fromarray(np.array([[0, 100_000]], dtype=np.int32))).getpixel((1, 0)) == WHITE


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (6, 6), colour) for colour in (RED, BLUE)]
    for name in ("a.gif", "a.png", "a.webp"):
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], duration=50)
        assert np.abs(np.subtract(open_picture(path).getpixel((3, 3)), RED)).max() < 6, name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = random_picture(6, 4)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_picture(saved(tmp_path / "photo.png", stored, exif=exif))
    assert np.array_equal(opened, upright)


def test_plain_picture_is_not_copied():
    image = random_picture()
    assert np.array_equal(load_rgb(image), image)


def refused(source, words):
    with pytest.raises(ValueError, match=words) as raised:
        open_picture(source)
    message = str(raised.value)
    assert "\n" not in message
    assert str(source) in message


def test_what_is_no_picture(tmp_path):
    for given in (b"bytes", random_picture(), None):
        with pytest.raises(ValueError, match="from a path or a binary file, not from"):
            open_picture(given)
    text = tmp_path / "notes.png"
    text.write_text("These are notes.")
    refused(text, "is not a picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    refused(empty, "is empty")
    refused(tmp_path / "missing.png", "there is no file")
    refused(tmp_path, "is a folder")


def test_formats_that_start_another_program_are_not_read(tmp_path):
    refused(saved(tmp_path / "a.eps", random_picture()), "is not a picture")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.tif", "a.bmp"])
def test_cut_short(tmp_path, name):
    path = saved(tmp_path / name, random_picture(64, 64))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "cannot be read|is not a picture")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.tif", "a.bmp"])
def test_damaged_files_are_read_or_refused_but_nothing_else(tmp_path, name):
    path = saved(tmp_path / name, random_picture(32, 32))
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for position in generator.integers(0, len(data), size=8):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert open_picture(path).mode == "RGB"
        except ValueError as error:
            assert str(path) in str(error)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(20_000, 20_000), (12_000, 10_000)])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, size, monkeypatch):
    path = tmp_path / "huge.png"
    data = io.BytesIO()
    Image.new("1", (1, 1)).save(data, "PNG")
    # A PNG whose header claims the size: width and height stand at byte 16, the header's checksum at byte 29.
    header = bytearray(data.getvalue())
    header[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    path.write_bytes(header)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    refused(path, "pixels")


def test_extreme_shapes_are_refused():
    with pytest.raises(ValueError, match=re.escape(f"20,000 x 500 pixels; a side may be up to {MAX_SIDE:,}")):
        load_rgb(Image.new("L", (20_000, 500)))
    with pytest.raises(ValueError, match=re.escape(f"up to {MAX_ASPECT} times the short one")):
        load_rgb(Image.new("L", (MAX_ASPECT + 1, 1)))
    assert load_rgb(Image.new("L", (MAX_ASPECT, 1))).size == (MAX_ASPECT, 1)


def test_what_is_no_image_object():
    with pytest.raises(ValueError, match="must be a PIL image, not NoneType"):
        load_rgb(None)


def test_questions():
    assert check_question("  What is this?\n") == "What is this?"
    assert check_question("What does <image> mean?") == "What does <image> mean?"
    assert len(check_question("x" * 2000)) == 2000
    for text, words in [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("x" * 100_000, "100,000 characters"),
        ("caf\udce9", "character 4"),
        (None, "NoneType"),
        (3, "int"),
    ]:
        with pytest.raises(ValueError, match=words):
            check_question(text)
