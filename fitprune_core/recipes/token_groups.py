"""Samples with different numbers of visual tokens, as LLaVA-NeXT's pictures have, grouped by that number.

What a group removes is judged as a whole, by its mean; groups weigh what they cost. Where all samples have equally many
tokens there is one group, and everything here is what it is for one token count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fitprune_core.cost.decoder import DecoderGeometry, visual_flops
from fitprune_core.recipes.budget import saved_share


def check_token_counts(counts: Any, num_samples: int, num_visual_tokens: int) -> np.ndarray:
    """The visual tokens of each sample as int64 (num_samples,); None stands for `num_visual_tokens` each.

    num_visual_tokens: what the arrays of the samples have room for, which the largest sample fills. Raises ValueError
    naming the value that cannot be.
    """
    if counts is None:
        return np.full(num_samples, num_visual_tokens, dtype=np.int64)
    counts = np.asarray(counts)
    if counts.shape != (num_samples,) or counts.dtype.kind not in "iu":
        raise ValueError(
            f"token_counts must be whole numbers of shape ({num_samples},), not {counts.dtype} of shape {counts.shape}"
        )
    if counts.min() < 1 or counts.max() != num_visual_tokens:
        raise ValueError(
            f"token_counts go from {counts.min()} to {counts.max()}; they must be from 1 to {num_visual_tokens}, "
            "which the arrays have room for"
        )
    return counts.astype(np.int64)


class TokenGroups:
    """The groups of samples with `counts` visual tokens, int64 (samples,), in a decoder of a geometry.

    `tokens` and `sizes`, int64 (groups,): visual tokens of each sample of a group, and how many samples it has.
    """

    def __init__(self, counts: np.ndarray, geometry: DecoderGeometry) -> None:
        self.geometry = geometry
        self.tokens, self._group_of, self.sizes = np.unique(counts, return_inverse=True, return_counts=True)
        self._scale = self.tokens[-1] / self.tokens
        unpruned = [visual_flops(geometry, (0,) * geometry.num_layers, int(count)) for count in self.tokens]
        costs = self.sizes * np.array(unpruned, dtype=np.float64)
        self._weights = costs / costs.sum()

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of one number a sample over each group: (samples,) to float64 (groups,)."""
        return np.bincount(self._group_of, weights=values, minlength=len(self.tokens))

    def mean_removed(self, removed: np.ndarray) -> np.ndarray:
        """The mean share of its tokens that a sample removes at each layer, for a picture of the largest count.

        removed: (groups, layers), summed over each group. Returns float64 (layers,), as
        `sequential.Trial.mean_removed` does.
        """
        return (removed * self._scale[:, None]).sum(axis=0) / self.sizes.sum()

    def saved(self, removed: np.ndarray) -> float:
        """The share of visual FLOPs that is saved over all samples together; `removed` as for `mean_removed`."""
        means = removed / self.sizes[:, None]
        groups = zip(means, self.tokens.tolist(), self._weights, strict=True)
        return float(sum(weight * saved_share(self.geometry, mean, count) for mean, count, weight in groups))
