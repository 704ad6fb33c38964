"""A checkpoint in the layout of LLaVA-HR's authors: the tower and pixels of tests/data/llava_hr_tower.json (formula and
figures, with their source), and a small random decoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from tests.formula import noise

OFFICIAL = json.loads((Path(__file__).parent / "data" / "llava_hr_tower.json").read_text(encoding="utf-8"))
CASES = {case["input_px"]: case for case in (OFFICIAL["main"], *OFFICIAL["extra_cases"])}


def formula_weight(name: str, shape: list[int]) -> torch.Tensor:
    """The weight that the authors' tower had under this name."""
    values = noise(OFFICIAL["salt"] + name, int(np.prod(shape)))
    if name.endswith("bias"):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    else:
        values = values * (3.0 / np.prod(shape[1:])) ** 0.5
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def tower_weights() -> dict[str, torch.Tensor]:
    """Weights of the tower and the projector, by the authors' names."""
    return {name: formula_weight(name, shape) for name, shape in OFFICIAL["state_dict"].items()}


def formula_pixels(side: int) -> torch.Tensor:
    """The normalised picture that the authors' tower saw, (1, 3, side, side)."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    wave = np.sin(0.021 * (c + 1) * x + 0.4 * c) * np.cos(0.013 * (c + 2) * y) + np.sin(0.0007 * x * y / (c + 1))
    values = wave + 0.5 * noise(OFFICIAL["salt"] + "pixels", 3 * side * side).reshape(3, side, side)
    return torch.from_numpy(values.astype(np.float32))[None]


def tower_sizes() -> dict:
    """The tower's sizes, as a tower.json gives them."""
    convnext = OFFICIAL["config"]["convnext"]
    return {
        "clip": OFFICIAL["config"]["clip"],
        "convnext": {"depths": convnext["depths"], "hidden_sizes": convnext["dims"]},
    }


def largest_difference(found: torch.Tensor, figures: dict) -> float:
    """How far features (tokens, width) are from the figures of a case, over every value that was written down."""
    assert list(found.shape) == figures["shape"]
    differences = [abs(found.mean().item() - figures["mean"])]
    for name, row in figures.items():
        if name.startswith("token_"):
            token = found[int(name.removeprefix("token_"))]
            for part, expected in ((token[:16], row["first16"]), (token[-16:], row["last16"])):
                differences.append((part - torch.tensor(expected)).abs().max().item())
    assert len(differences) == 7
    return max(differences)
