"""Checkpoints of a training run: written whole or not at all, and read back to go on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer


def save_state(path: Path, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], step: int) -> None:
    """Write what a run needs to go on as if it had not been stopped.

    To a neighbour, which is renamed: a kill in the middle leaves the checkpoint before it intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    states = {name: module.state_dict() for name, module in modules.items()}
    state = {"step": step, "modules": states, "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_state(path: Path, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer]) -> int:
    """Restore what `save_state` wrote; returns the number of steps done, 0 where there is no checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=False):
        optimizer.load_state_dict(saved)
    return state["step"]


def steps_done(path: Path) -> int:
    """The number of steps done that a checkpoint tells, 0 where there is none."""
    return load_state(path, {}, [])
