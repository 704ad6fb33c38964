"""Comparisons that somebody exported elsewhere, as files in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from fitprune_core.report.export import exported, to_entries
from tests.app.fake_engine import GEOMETRY, FakeEngine, make_comparison

MODEL, DEVICE = "llava-1.5-7b", "NVIDIA A100 · float16"


def write_exhibit(path: Path, question: str, answers=("a dog", "a cat"), *, model: str = MODEL, percent=60) -> None:
    """One export; its name says what it becomes."""
    image = Image.effect_noise((320, 240), 60).convert("RGB")
    made = make_comparison(image.size, question, FakeEngine().recipe_for(percent), answers)
    entries = to_entries(replace(made, model=model, device=DEVICE), image, GEOMETRY)
    path.write_bytes(exported(entries, path.suffix))


def write_gallery(folder: Path) -> None:
    """Two sound files, in the order of their names, and three that are none."""
    write_exhibit(folder / "a.json", "What animal is it?")
    write_exhibit(folder / "b.html", "Who is there?", ("nobody", "nobody"), model="qwen2.5-vl-7b", percent=80)
    (folder / "c.json").write_text('{"format": "fitprune-comparison", "version": 1, "comparison": {}}')
    (folder / "d.html").write_bytes((folder / "b.html").read_bytes()[:5000])
    (folder / "e.json").write_bytes(b"\xff\x00")
    (folder / "notes.txt").write_text("not one of them")
