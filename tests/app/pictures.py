"""Files that visitors hand over: some are no pictures, some are odd ones."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

QUARTER_TURN = 6  # a value of the EXIF tag that says how the camera was held
ORIENTATION = 274


def png(size: tuple[int, int] = (30, 20)) -> bytes:
    """A red picture, as a file's bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    """A PNG file's bytes as a data URL."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def bad_files(folder: Path) -> list[Path]:
    """Files that cannot be answered about: cut short, a text, noise, nothing at all, and far too many pixels."""
    scene = Image.effect_noise((300, 300), 80).convert("RGB")
    scene.save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:20_000])
    (folder / "text.png").write_text("I am a text, not a picture.")
    (folder / "noise.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)))
    (folder / "empty.png").write_bytes(b"")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    return [folder / name for name in ("cut.png", "text.png", "noise.jpg", "empty.png", "huge.png")]


def odd_pictures(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """Pictures of unusual kinds, each with the (width, height) that it has when it stands upright."""
    odd = {
        "tiny.png": Image.new("RGB", (1, 1)),
        "long.png": Image.new("RGB", (1000, 100)),
        "tall.webp": Image.new("RGB", (30, 300), "teal"),
        "palette.gif": Image.new("P", (40, 30)),
        "alpha.png": Image.new("RGBA", (40, 30), (0, 0, 0, 0)),
        "cmyk.jpg": Image.new("CMYK", (40, 30)),
        "deep.png": Image.new("I;16", (40, 30)),
        "bits.bmp": Image.new("1", (40, 30)),
    }
    for name, image in odd.items():
        image.save(folder / name)
    frames = [Image.new("P", (40, 30), color) for color in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    Image.new("RGB", (40, 30)).save(folder / "turned.jpg", exif=exif)
    sizes = {name: image.size for name, image in odd.items()} | {"animated.gif": (40, 30), "turned.jpg": (30, 40)}
    return [(folder / name, size) for name, size in sizes.items()]
