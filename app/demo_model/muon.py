"""Muon (Jordan et al., 2024) in float32, with AdamW for what is not a hidden matrix.

`torch.optim.Muon` orthogonalises in bfloat16, which a processor without bfloat16 units emulates a hundred times slower.
Matrices of one shape are orthogonalised together as one batch: mini-llava has some ninety matrices of six shapes.
"""

from __future__ import annotations

from collections import defaultdict

import torch

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrices, roughly: `(B, rows, columns)` in, the same out."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; at `scale` 0.2 the update has AdamW's usual size, so one learning rate serves both."""

    def __init__(self, params, lr: float = 1e-3, *, scale: float = 0.2, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(params, {"lr": lr, "scale": scale, "momentum": momentum, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    by_shape[tuple(param.shape)].append(param)
            for shape, params in by_shape.items():
                self._step_shape(group, shape, params)

    def _step_shape(self, group, shape, params) -> None:
        momentum = group["momentum"]
        updates = []
        for param in params:
            state = self.state[param]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(param)
            state["momentum"].lerp_(param.grad, 1 - momentum)
            updates.append(param.grad.lerp(state["momentum"], momentum))  # Nesterov
        scale = group["lr"] * group["scale"] * max(shape) ** 0.5
        for param, update in zip(params, orthogonalize(torch.stack(updates)), strict=True):
            param.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)


def make_optimizers(modules: list[torch.nn.Module], lr: float, scale: float = 0.2) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices, AdamW for embeddings, norms, biases, convolutions and output heads."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for module in modules:
        for name, param in module.named_parameters():
            if not param.requires_grad:
                continue
            hidden = param.ndim == 2 and not any(word in name for word in ("embed", "lm_head", "heads"))
            (matrices if hidden else rest).append(param)
    adamw = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(matrices, lr=lr, scale=scale), adamw] if matrices else [adamw]


def step_all(optimizers: list[torch.optim.Optimizer], lr: float) -> None:
    """One step of every optimizer at this learning rate, and their gradients cleared."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def warmup_stable_decay(step: int, total: int, warmup: int = 50, decay: float = 0.3) -> float:
    """The share of the peak learning rate at `step`: a short rise, a plateau, a linear fall over the last 30 %."""
    rise = min(1.0, (step + 1) / warmup)
    fall = (total - step) / max(1.0, decay * total)
    return max(0.0, min(rise, fall))
