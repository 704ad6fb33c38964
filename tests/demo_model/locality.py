"""Whether a vision tower is local: what changes when one patch of the picture does."""

from __future__ import annotations

import torch

from app.demo_model.architecture import GRID, PATCH_SIZE, REACH


@torch.no_grad()
def assert_local(tower) -> None:
    """Change one patch of a picture, at a corner, an edge and inside: only its neighbourhood's features may change."""
    pixels = torch.randn(1, 3, GRID * PATCH_SIZE, GRID * PATCH_SIZE)
    before = tower(pixels).last_hidden_state[0, 1:].reshape(GRID, GRID, -1)
    for row, column in ((0, 0), (7, 9), (GRID - 1, 4)):
        changed = pixels.clone()
        rows, columns = (slice(at * PATCH_SIZE, (at + 1) * PATCH_SIZE) for at in (row, column))
        changed[:, :, rows, columns] += torch.randn(1, 3, PATCH_SIZE, PATCH_SIZE)
        after = tower(changed).last_hidden_state[0, 1:].reshape(GRID, GRID, -1)
        moved = (after - before).abs().amax(-1)
        far = torch.ones(GRID, GRID, dtype=torch.bool)
        far[max(0, row - REACH) : row + REACH + 1, max(0, column - REACH) : column + REACH + 1] = False
        assert moved[far].max() < 1e-4 < moved[row, column]
