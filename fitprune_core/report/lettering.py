"""Texts on pictures: a font that has the letters, and lines that fit."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

# Pillow's own font has hardly more than ASCII. These are looked for where systems keep their fonts, wider ones last.
_WIDER = ("DejaVuSans.ttf", "Arial.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "PingFang.ttc", "msyh.ttc")
# No font has a letter for this, so what is drawn for it is drawn for every letter that is missing.
_MISSING = "\uffff"
_CUT = "..."
_LONGEST = 1_000  # characters that are looked at: more than any line or two hold

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font_for(text: str, size: int) -> Font:
    """The first font that has every letter of a text, size in pixels; Pillow's own where none of this system has."""
    letters = {letter for letter in text[:_LONGEST] if not letter.isspace()}
    fonts = _fonts(size)
    return next((font for font in fonts if all(_has(font, letter) for letter in letters)), fonts[0])


def lines_of(text: str, font: Font, width: int, most: int) -> list[str]:
    """A text in at most so many lines of `width` pixels, its white space made single; what is too long is cut."""
    lines: list[str] = []
    rest = " ".join(text[:_LONGEST].split())
    while rest:
        fits = _fitting(rest, font, width)
        if fits == len(rest):
            return [*lines, rest]
        if len(lines) == most - 1:
            return [*lines, rest[: _fitting(rest, font, width, _CUT)].rstrip() + _CUT]
        space = rest.rfind(" ", 0, fits + 1)
        end = space if space > 0 else max(fits, 1)
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    return lines


def _fitting(text: str, font: Font, width: int, end: str = "") -> int:
    """How many of the first letters of a text fit, with `end` behind them."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + end) <= width else (low, middle - 1)
    return low


@lru_cache(maxsize=8)
def _fonts(size: int) -> tuple[Font, ...]:
    found = [ImageFont.load_default(size)]
    for name in _WIDER:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:  # not on this system
            continue
    return tuple(found)


def _has(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask(_MISSING))
