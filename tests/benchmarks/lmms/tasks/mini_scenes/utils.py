"""Functions that `mini_scenes.yaml` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from fitprune_core.run.pictures import open_picture
from fitprune_core.run.results import normalised

SCENES = Path("tests/benchmarks/results/lmms/scenes")


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    """The scene of a line of samples.jsonl."""
    return [open_picture(SCENES / doc["image"])]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Right or wrong, but for upper case, white space and final punctuation, as `evaluate` counts."""
    return {"accuracy": float(normalised(results[0]) == normalised(doc["answer"]))}
