"""The frame that every stage of training shares: go on where a run stopped, report, and write what was reached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from app.demo_model.checkpoints import load_state, save_state

logger = logging.getLogger(__name__)


def train_steps(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizers: list[torch.optim.Optimizer],
    steps: int,
    step: Callable[[int], Mapping[str, torch.Tensor]],
    *,
    every: int,
    shares_right: Callable[[int], Mapping[str, float]],
    on_checkpoint: Callable[[], None] = lambda: None,
) -> None:
    """Do `step(number)` for all of `steps` that were not done before the run was stopped.

    Args:
        path: the checkpoint, of `modules` and `optimizers`; its name is that of the stage. One that is there is
            read, and the others are written every so many steps and after the last.
        step: learns from one batch, and returns its losses by name.
        every: steps between checkpoints.
        shares_right: what was reached, called with the number of steps done; a line of the log.
        on_checkpoint: called when a checkpoint is written.
    """
    first = load_state(path, modules, optimizers)
    progress = tqdm(range(first, steps), initial=min(first, steps), total=steps, desc=path.stem)
    for number in progress:
        losses = {name: f"{loss.item():.3f}" for name, loss in step(number).items()}
        progress.set_postfix(losses)
        done = number + 1
        if done % every == 0 or done == steps:
            save_state(path, modules, optimizers, done)
            right = " ".join(f"{name} {share:.3f}" for name, share in shares_right(done).items())
            logger.info("%s step %d %s | %s", path.stem, done, losses, right)
            on_checkpoint()


def learn(loss: torch.Tensor, modules: Mapping[str, nn.Module]) -> None:
    """The gradients of a loss, not longer than 1 all together."""
    loss.backward()
    nn.utils.clip_grad_norm_([p for module in modules.values() for p in module.parameters()], 1.0)
