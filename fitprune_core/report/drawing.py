"""The picture with what a layer left of it, and a caption: drawn by Pillow, for files. A browser draws its own."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fitprune_core.report.lettering import font_for, lines_of
from fitprune_core.report.names import called
from fitprune_core.run.results import ORIGINAL, title_of

# Longer side of the picture in a drawing, by how many stand side by side: a model may see a picture in two ways, and
# both sides of a comparison may prune.
SIDES = {1: 640, 2: 480, 4: 400}
_NARROWEST = 480  # width that texts have
# A file that came from elsewhere may hold anything; this is far above any model and any picture of a trace.
MOST_LAYERS, MOST_TOKENS, MOST_PIXELS = 128, 2**17, 2**22

VIEWS = {"grid": "", "tile": "Tiles", "base": "The whole picture"}

# How the scrubber draws what has gone, and what a layer drops (app/theme.css, view/scrubber/paint.js): told apart by
# form, so that no picture's own colours look like either.
VEIL, VEIL_SHARE, HERE_VEIL_SHARE = (66, 72, 80), 0.84, 0.6
HATCH, HATCH_SHARE, HERE = (255, 255, 255), 0.4, (240, 90, 20)
_EVERY, _HERE_EVERY, _LINE = 11, 7, 2  # pixels from line to line of a hatch, and of a line or a frame
_WASH, _WASH_SHARE = (236, 236, 232), 0.8
_PAPER, _INK, _INK_2, _RULE, _ACCENT = "#ffffff", "#16191d", "#4a5159", "#dedfda", "#c8420a"
_MARGIN, _BAR, _GAP = 16, 5, 12


@dataclass(frozen=True)
class _Panel:
    """What one side did to one view of the picture. fate: for each pixel the layer that drops the token shown there."""

    side: int
    view: str
    title: str
    left: int
    fate: np.ndarray


class LayerDrawing:
    """Draws an exported comparison (`export.entries_of`), layer by layer, at one size."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        """Raises ValueError for a comparison that cannot be drawn, naming what is wrong."""
        self.comparison, self.trace = entries["comparison"], entries["trace"]
        self.layers, tokens = len(self.trace["tokens"]), len(self.trace["boxes"])
        if not 1 <= self.layers <= MOST_LAYERS or not 1 <= tokens <= MOST_TOKENS:
            raise ValueError(
                f"it has {self.layers:,} layers and {tokens:,} visual tokens; up to {MOST_LAYERS:,} and "
                f"{MOST_TOKENS:,} are drawn"
            )
        views = [view for view in VIEWS if view in self.trace["views"]]
        width, height = float(self.trace["width"]), float(self.trace["height"])
        if not (width >= 1 and height >= 1):
            raise ValueError(f"its picture is {width:g} x {height:g} pixels")
        self.sides = sides_of(self.trace)
        places = [(side, view) for side in range(len(self.sides)) for view in views]
        self.scale = SIDES[len(places)] / max(width, height)
        self.shape = (max(round(width * self.scale), 1), max(round(height * self.scale), 1))
        self.picture = np.asarray(picture_of(self.trace).resize(self.shape, Image.Resampling.LANCZOS), np.float32)
        step = self.shape[0] + _GAP
        self.panels = [
            _Panel(side, view, self._title(side, view), _MARGIN + at * step, self._fate(side, view))
            for at, (side, view) in enumerate(places)
        ]
        self.width = max(2 * _MARGIN + step * len(places) - _GAP, 2 * _MARGIN + _NARROWEST)
        self._place_texts()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of every frame, in pixels, both even, as players of films want them."""
        return self.width + self.width % 2, self.height + self.height % 2

    def box_of(self, token: int, side: int = -1) -> tuple[int, int, int, int]:
        """Where a token lies in a frame, in the panel of a side (see `sides_of`): left, top, right, bottom."""
        side, view = side % len(self.sides), self.trace["views"][token]
        left = next(panel.left for panel in self.panels if (panel.side, panel.view) == (side, view))
        x0, y0, x1, y1 = self._pixels(self.trace["boxes"][token])
        return left + x0, self.top + y0, left + x1, self.top + y1

    def frame(self, layer: int | None) -> Image.Image:
        """What leaves a layer, from 0; None: the picture as it is. RGB."""
        image = Image.new("RGB", self.size, _PAPER)
        draw = ImageDraw.Draw(image)
        for panel in self.panels:
            pixels = self.picture if layer is None else self._pruned(panel.fate, layer)
            image.paste(Image.fromarray(np.rint(pixels).astype(np.uint8)), (panel.left, self.top))
            if panel.title:
                self._write(draw, panel.left, self.top - 22, panel.title, 15, _INK_2)
            if panel.view == "tile":
                self._edge_tiles(draw, panel.left)
        self._caption(draw, layer)
        return image

    def _pruned(self, fate: np.ndarray, layer: int) -> np.ndarray:
        """The picture with what has gone hidden, hatched, and what the model never saw washed out."""
        pixels = self.picture.copy()
        if (seen := self._pixels(self.trace["seen"])) != (0, 0, *self.shape):
            outside = np.ones(fate.shape, bool)
            outside[seen[1] : seen[3], seen[0] : seen[2]] = False
            _blend(pixels, outside, _WASH, _WASH_SHARE)
        before, here = fate < layer, fate == layer
        _blend(pixels, before, VEIL, VEIL_SHARE)
        _blend(pixels, before & self._lines(_EVERY), HATCH, HATCH_SHARE)
        _blend(pixels, here, VEIL, HERE_VEIL_SHARE)
        _blend(pixels, here & (self._lines(_HERE_EVERY) | ~_without_edges(here)), HERE, 1.0)
        return pixels

    def _lines(self, every: int) -> np.ndarray:
        """The pixels of slanted lines over a panel."""
        down, across = np.ogrid[: self.shape[1], : self.shape[0]]
        return (down + across) % every < _LINE

    def _title(self, side: int, view: str) -> str:
        names = [self.sides[side]["name"]] if len(self.sides) > 1 else []
        return ", ".join([*names, *([VIEWS[view]] if VIEWS[view] else [])])

    def _fate(self, side: int, view: str) -> np.ndarray:
        """Pixels that show no token of the view are never dropped."""
        fate, dropped_after = np.full(self.shape[::-1], self.layers, np.int32), self.sides[side]["dropped_after"]
        for kind, box, layer in zip(self.trace["views"], self.trace["boxes"], dropped_after, strict=True):
            if kind == view and box is not None:
                x0, y0, x1, y1 = self._pixels(box)
                fate[y0:y1, x0:x1] = min(max(int(layer), -1), self.layers)
        return fate

    def _pixels(self, box: list[float]) -> tuple[int, int, int, int]:
        """A box of the picture in pixels of a panel, rounded so that neighbours neither overlap nor leave a gap."""
        ends = np.rint(np.clip(np.nan_to_num(np.asarray(box, np.float64)), -1e6, 1e6) * self.scale)
        limits = (*self.shape, *self.shape)
        x0, y0, x1, y1 = (int(min(max(end, 0), most)) for end, most in zip(ends, limits, strict=True))
        return x0, y0, x1, y1

    def _edge_tiles(self, draw: ImageDraw.ImageDraw, left: int) -> None:
        """Dark and light, so that the edges show on any picture."""
        for x0, y0, x1, y1 in map(self._pixels, self.trace["tiles"]):
            for inset, color in ((0, "#000000"), (1, "#ffffff")):
                corners = (left + x0 + inset, self.top + y0 + inset, left + x1 - 1 - inset, self.top + y1 - 1 - inset)
                if corners[0] < corners[2] and corners[1] < corners[3]:
                    draw.rectangle(corners, outline=color)

    def _place_texts(self) -> None:
        """Where everything stands: the question over the picture, the rest under it."""
        self.room = self.width - 2 * _MARGIN
        self.question = lines_of(self.comparison["question"], font_for(self.comparison["question"], 22), self.room, 2)
        self.top = _MARGIN + 28 * len(self.question) + 8 + (24 if self.panels[0].title else 0)
        self.under = self.top + self.shape[1] + _GAP
        c, ways = self.comparison, ways_of(self.comparison)
        names = [
            called(title_of(way["method"], way["reduction"], is_painted=bool(way.get("stay") or way.get("go"))))
            for way in ways
        ]
        answers = [c["original"]["answer"] or "(empty answer)", c["pruned"]["answer"] or "(empty answer)"]
        self.answers = [f"{name}: {answer}" for name, answer in zip(names, answers, strict=True)]
        saved = [
            f"{name} saves {100 * way['achieved_reduction']:.1f} % of visual FLOPs"
            for name, way in zip(names, ways, strict=True)
            if way["method"] != ORIGINAL
        ]
        self.about = ", ".join([*saved, c["model"]])
        self.height = self.under + _BAR + 10 + 30 + 26 + 28 * len(self.answers) + _MARGIN - 4

    def _caption(self, draw: ImageDraw.ImageDraw, layer: int | None) -> None:
        y = _MARGIN
        for line in self.question:
            self._write(draw, _MARGIN, y, line, 22, _INK)
            y += 28
        right = _MARGIN + self.room
        draw.rectangle((_MARGIN, self.under, right - 1, self.under + _BAR - 1), fill=_RULE)
        if layer is not None:
            done = _MARGIN + round(self.room * (layer + 1) / self.layers)
            draw.rectangle((_MARGIN, self.under, done - 1, self.under + _BAR - 1), fill=_ACCENT)
        y = self.under + _BAR + 10
        self._write(draw, _MARGIN, y, describe_layer(self.trace, layer), 20, _INK)
        self._write(draw, _MARGIN, y + 30, self.about, 16, _INK_2)
        y += 30 + 26
        for answer in self.answers:
            self._write(draw, _MARGIN, y, answer, 18, _INK)
            y += 28

    def _write(self, draw: ImageDraw.ImageDraw, x: int, y: int, text: str, size: int, color: str) -> None:
        font = font_for(text, size)
        for line in lines_of(text, font, self.width - _MARGIN - x, 1):
            draw.text((x, y), line, fill=color, font=font)


def describe_layer(trace: Mapping[str, Any], layer: int | None) -> str:
    """What a frame shows, in words, as the scrubber says it; layers count from 1."""
    total = len(trace["boxes"])
    unit = "tokens" if trace["merge"] > 1 or "newline" in trace["views"] else "patches"
    if layer is None:
        return f"The picture: {total} {unit}"
    kept = " and ".join(str(side["tokens"][layer]) for side in sides_of(trace))
    return f"Layer {layer + 1} of {len(trace['tokens'])}: {kept} of {total} {unit} kept"


def sides_of(trace: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sides of a comparison that prune, the first one first; see `trace.trace_of`."""
    return [trace["against"], trace] if trace.get("against") else [trace]


def ways_of(comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Method, reduction and what was saved, of both sides of a comparison as `Comparison.to_json` has it."""
    original = {"method": ORIGINAL, "reduction": 0.0, "achieved_reduction": 0.0}
    return [comparison.get("against") or original, comparison]


def picture_of(trace: Mapping[str, Any]) -> Image.Image:
    """The picture inside a trace, RGB. Raises ValueError for what is no small picture."""
    try:
        data = base64.b64decode(trace["image"].partition(",")[2], validate=True)
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"it has {image.width} x {image.height} pixels")
            return image.convert("RGB")
    except (OSError, ValueError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError(f"its picture cannot be opened: {error}") from error


def _blend(pixels: np.ndarray, where: np.ndarray, color: tuple[int, int, int], share: float) -> None:
    pixels[where] += (np.asarray(color, np.float32) - pixels[where]) * share


def _without_edges(area: np.ndarray) -> np.ndarray:
    """What of an area is farther than the width of a frame from all that is outside of it, the picture's edge too."""
    padded = np.pad(area, _LINE)
    height, width = area.shape
    steps = [(down, across) for down in range(2 * _LINE + 1) for across in range(2 * _LINE + 1)]
    return np.logical_and.reduce([padded[down : down + height, across : across + width] for down, across in steps])
