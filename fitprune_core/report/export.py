"""A comparison as a file of its own: JSON, a page that needs no server and no network, a picture, an animation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from fitprune_core.checks.files import check_export, write_whole
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.report.picture import animation_of, png_of
from fitprune_core.report.trace import trace_of
from fitprune_core.run.results import Comparison

FORMAT, VERSION = "fitprune-comparison", 1
VIEW = Path(__file__).resolve().parent / "view"
_SCRIPTS = (
    "shared.js",
    "scrubber/geometry.js",
    "scrubber/paint.js",
    "scrubber/brush.js",
    "scrubber/chart.js",
    "scrubber/scrubber.js",
)


def export_comparison(
    comparison: Comparison,
    image: Image.Image,
    geometry: DecoderGeometry,
    path: str | os.PathLike,
    layer: int | None = None,
) -> None:
    """Write a comparison to a file, as its name ends (`EXPORTS`). image: the picture that was asked about.

    geometry: of the decoder; layer: as in `exported`. Raises ValueError as `check_export` and `exported` do, and
    OSError for what the disk refuses.
    """
    path = check_export(path)
    write_whole(path, exported(to_entries(comparison, image, geometry), path.suffix.casefold(), layer))


def exported(entries: dict[str, Any], ending: str, layer: int | None = None) -> bytes:
    """What a file with such an ending, one of `EXPORTS`, holds. layer: that a picture shows, from 0; None: the last.

    Raises ValueError for a layer that is not there, and for what cannot be drawn (`drawing.LayerDrawing`).
    """
    if ending == ".png":
        return png_of(entries, layer)
    if ending in (".gif", ".webp"):
        return animation_of(entries, ending[1:])
    return (page_of(entries) if ending == ".html" else json.dumps(entries, ensure_ascii=False)).encode()


def to_entries(
    comparison: Comparison, image: Image.Image, geometry: DecoderGeometry, judged: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The object of an exported file: `comparison` as `compare --json` prints it, and `trace` for the scrubber.

    judged: where the true answer is known, `marks` ("right" or "wrong", of both sides) and `truth`, a sentence.
    """
    return entries_of(comparison, trace_of(comparison, image, geometry), judged)


def entries_of(comparison: Comparison, trace: dict[str, Any], judged: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same, of a comparison that is traced already (`reading.read_export`)."""
    entries = {"format": FORMAT, "version": VERSION, "comparison": comparison.to_json(), "trace": trace}
    return entries if judged is None else {**entries, "judged": judged}


def page_of(entries: dict[str, Any]) -> str:
    """The page of an exported object. Texts of people and models are data in it, and are shown as texts."""

    def part(name: str) -> str:
        return (VIEW / name).read_text(encoding="utf-8")

    # Nothing in a script element may look like its end, or begin a comment.
    data = json.dumps(entries).replace("<", "\\u003c")
    parts = {
        "%style%": part("page.css"),
        "%scrubber.css%": part("scrubber/swatches.css") + part("scrubber/scrubber.css"),
        "%scrubber.html%": part("scrubber/scrubber.html"),
        "%data%": data,
        "%scripts%": "\n".join(map(part, _SCRIPTS)),
        "%page.js%": part("page.js"),
    }
    page = part("page.html")
    # Each mark stands in the page once, and what is put in is not looked at again.
    pieces, rest = [], page
    for mark in sorted(parts, key=page.index):
        before, rest = rest.split(mark, 1)
        pieces += [before, parts[mark]]
    return "".join([*pieces, rest])
