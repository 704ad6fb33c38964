"""Pictures and questions as people hand them over, turned into what a model takes or refused with a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats that Pillow decodes by itself; others (EPS, for one) start another program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

# Pillow's own limit at the time of writing, about 256 MB as RGB; above twice this it refuses to open a file.
MAX_PIXELS = 89_478_485
# Image processors scale the short side to a fixed length or pad to a square: without these two limits a picture of a
# few kilobytes (20,000 x 1 pixels) would need gigabytes there.
MAX_SIDE = 16_384
MAX_ASPECT = 100

MAX_QUESTION_CHARACTERS = 2_000
# What stands for the picture in LLaVA's data.
IMAGE_MARKER = "<image>"


def open_picture(source: str | os.PathLike | BinaryIO) -> Image.Image:
    """Read a picture file as RGB pixels, upright.

    source: a path, or an open binary file. Of an animation the first frame is read; see `load_rgb` for the rest. The
    size is checked before anything is decoded. Raises ValueError, one sentence that names the file, for one that is
    missing, empty, damaged, too large, or no picture.
    """
    name = _name_of(source)
    with _open(source, name) as image:
        _check_size(image, name)
        with _damage_explained(name):
            image.load()
        return load_rgb(image, name)


def load_rgb(image: Image.Image, name: str = "the picture") -> Image.Image:
    """Any PIL picture as RGB pixels, upright: a picture that is RGB and upright already comes back as it is.

    EXIF rotation is applied; transparency is laid on white; palettes, CMYK and the like are converted; 16-bit greys
    are scaled to 8 bits, and other wide greys (32-bit, floating point) from their darkest to their lightest value.
    name: what to call the picture in an error. Raises ValueError for one that is too large or too long and narrow.
    """
    if not isinstance(image, Image.Image):
        raise ValueError(f"{name} must be a PIL image, not {type(image).__name__}")
    _check_size(image, name)
    with _damage_explained(name):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _eight_bit_grey(image).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def strip_image_marker(text: str, marker: str = IMAGE_MARKER) -> str:
    """A question without white space and image markers in front of it and after it; amid the text they are text.

    Data sets in LLaVA's form mark by `<image>` where the picture stands, which the chat template says by itself.
    marker: what they mark it by.
    """
    parts = text.split(marker)
    filled = [at for at, part in enumerate(parts) if part.strip()]
    return marker.join(parts[filled[0] : filled[-1] + 1]).strip() if filled else ""


def check_question(text: str) -> str:
    """A question without the white space, and the image markers, around it.

    Raises ValueError for one that is empty, longer than 2,000 characters, or no valid text.
    """
    if not isinstance(text, str):
        raise ValueError(f"the question must be a text, not {type(text).__name__}")
    question = strip_image_marker(text)
    if not question:
        raise ValueError("the question is empty; ask something about the picture")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise ValueError(
            f"the question has {len(question):,} characters; it may have up to {MAX_QUESTION_CHARACTERS:,}"
        )
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start + 1} of the question is not valid Unicode") from error
    return question


def _open(source: str | os.PathLike | BinaryIO, name: str) -> Image.Image:
    """Read a file's header. Raises ValueError for what is no picture."""
    try:
        with _damage_explained(name, but=(OSError, Image.DecompressionBombError)):
            return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(_unidentified(source, name)) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels; a picture may have up to {MAX_PIXELS:,}"
        ) from error
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {name}") from error
    except IsADirectoryError as error:
        raise ValueError(f"{name} is a folder, not a picture") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from error


@contextmanager
def _damage_explained(name: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what a decoder raises into a ValueError that names the file.

    Decoders raise about anything for a damaged file: OSError, SyntaxError, struct.error, IndexError, EOFError ...
    """
    try:
        yield
    except but:
        raise
    except Exception as error:
        raise ValueError(f"{name} is damaged or cut short and cannot be read: {error}") from error


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits, or of floating point, as 8 bits."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values * (255 / 65535)).round().astype(np.uint8))
    finite = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    darkest, lightest = finite.min(), finite.max()
    spread = (finite - darkest) / (lightest - darkest) if lightest > darkest else np.zeros_like(finite)
    return Image.fromarray((spread * 255).round().astype(np.uint8))


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    size = f"{name} is {width:,} x {height:,} pixels"
    if width < 1 or height < 1:
        raise ValueError(f"{size}: there is nothing to see")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{size}; a picture may have up to {MAX_PIXELS:,} pixels in all")
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{size}; a side may be up to {MAX_SIDE:,} pixels long")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(f"{size}; the long side may be up to {MAX_ASPECT} times the short one")


def _unidentified(source: str | os.PathLike | BinaryIO, name: str) -> str:
    """Why Pillow does not know a file."""
    if isinstance(source, (str, os.PathLike)) and Path(source).stat().st_size == 0:
        return f"{name} is empty"
    return f"{name} is not a picture, or in a format that is not read here ({', '.join(FORMATS)})"


def _name_of(source: str | os.PathLike | BinaryIO) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "the picture"
