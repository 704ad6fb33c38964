"""Any PIL picture as RGB pixels, upright, without more memory than two copies of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from fitprune_core.checks.words import cut, named
from fitprune_core.models.pictures import check_picture
from fitprune_core.run.orientation import orientation_of, turned

# 8192 x 8192, about what phones make: Pillow holds 4 bytes of a pixel, so a copy takes 256 MB at most.
MAX_PIXELS = 2**26
# Image processors scale the short side to a fixed length or pad to a square: without these two limits a picture of a
# few kilobytes (20,000 x 1 pixels) would need gigabytes there.
MAX_SIDE = 16_384
MAX_ASPECT = 100

# Conversions that need several arrays work on so many pixels at a time.
_BAND = 2**20


def load_rgb(image: Image.Image, name: str = "the picture") -> Image.Image:
    """Any PIL picture as RGB pixels, upright: a picture that is RGB and upright already comes back as it is.

    EXIF rotation is applied; transparency is laid on white; palettes, CMYK and the like are converted; 16-bit greys
    are scaled to 8 bits, and other wide greys (32-bit, floating point) from their darkest to their lightest value.
    name: what to call the picture in an error. Raises ValueError for one that is too large or too long and narrow.
    """
    check_picture(image, name)
    check_size(image, name)
    with damage_explained(name):
        image.load()
        return turned(_rgb(image), orientation_of(image))


def check_size(image: Image.Image, name: str, most: int = MAX_PIXELS) -> None:
    """Raise ValueError for a picture with more pixels than `most`, none, or of a shape that processors make huge."""
    width, height = image.size
    size = f"{named(name)} is {width:,} x {height:,} pixels"
    if width < 1 or height < 1:
        raise ValueError(f"{size}: there is nothing to see")
    if width * height > most:
        raise ValueError(f"{size}; a picture may have up to {most:,} pixels in all")
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{size}; a side may be up to {MAX_SIDE:,} pixels long")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(f"{size}; the long side may be up to {MAX_ASPECT} times the short one")


@contextmanager
def damage_explained(name: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what a decoder raises into a ValueError that names the file.

    Decoders raise about anything for a damaged file: OSError, SyntaxError, struct.error, IndexError, EOFError ...
    Memory that runs out is no damage.
    """
    try:
        yield
    except MemoryError:
        raise
    except but:
        raise
    except Exception as error:
        raise ValueError(f"{named(name)} is damaged or cut short and cannot be read: {cut(str(error))}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _eight_bit_grey(image).convert("RGB")
    if image.has_transparency_data:
        return _in_bands(image, "RGB", _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits, or of floating point, as 8 bits."""
    if image.mode.startswith("I;16"):
        return _in_bands(image, "L", lambda band: _grey(np.asarray(band, dtype=np.float64) * (255 / 65535)))
    ends = [(values.min(), values.max()) for values in map(_finite, _bands(image))]
    darkest, lightest = min(low for low, _ in ends), max(high for _, high in ends)
    if lightest == darkest:
        return Image.new("L", image.size, 0)
    return _in_bands(image, "L", lambda band: _grey((_finite(band) - darkest) / (lightest - darkest) * 255))


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.round().astype(np.uint8))


def _finite(band: Image.Image) -> np.ndarray:
    """The values of a picture, float64; what is no number, or infinite, is 0."""
    return np.nan_to_num(np.asarray(band, dtype=np.float64), posinf=0.0, neginf=0.0)


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    rows = max(_BAND // width, 1)
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(top + rows, height)))


def _in_bands(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A picture in another mode, converted some rows at a time."""
    result, top = Image.new(mode, image.size), 0
    for band in _bands(image):
        result.paste(convert(band), (0, top))
        top += band.height
    return result
