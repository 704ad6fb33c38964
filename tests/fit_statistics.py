"""What the fit reads of statistics, made up: exact whole numbers, or peaked as in models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.recipes.statistics import AttentionStatistics


@dataclass(eq=False)
class Statistics:
    """What the fit reads of an AttentionStatistics."""

    self_attention: np.ndarray
    cross_attention: np.ndarray
    geometry: DecoderGeometry
    model: str = "a-model"
    self_share: np.ndarray | None = None
    cross_share: np.ndarray | None = None

    @property
    def num_samples(self) -> int:
        return len(self.self_attention)


def geometry(num_layers: int, width: int = 160) -> DecoderGeometry:
    return DecoderGeometry(num_layers, width, 448 * width // 160, width, width, 1000)


def whole_number_statistics(samples: int, layers: int, tokens: int, seed: int = 0, largest: int = 9) -> Statistics:
    """Attention in small whole numbers with many ties, so that every sum and comparison is exact."""
    random = np.random.default_rng(seed)
    shape = (samples, layers, tokens)
    return Statistics(
        random.integers(0, largest, shape).astype(np.float32),
        random.integers(0, largest, shape).astype(np.float32),
        geometry(layers),
    )


def peaked_statistics(samples: int, layers: int, tokens: int, seed: int = 0, width: int = 160) -> Statistics:
    """Attention as models have it: a few tokens hold most of it, and largely the same ones at every layer."""
    random = np.random.default_rng(seed)
    shared = random.gamma(0.4, size=(samples, 1, tokens))
    kinds = []
    for _ in range(2):
        values = shared * random.gamma(0.7, size=(samples, layers, tokens))
        kinds.append((values / values.sum(axis=-1, keepdims=True)).astype(np.float32))
    return Statistics(*kinds, geometry(layers, width))


def statistics_of(samples: int, layers: int, tokens: int, seed: int) -> AttentionStatistics:
    """As `peaked_statistics`, as the library keeps them, with shares."""
    made = peaked_statistics(samples, layers, tokens, seed)
    shares = np.random.default_rng(seed).uniform(0.1, 0.9, (2, samples, layers)).astype(np.float32)
    return AttentionStatistics(made.self_attention, made.cross_attention, "m", made.geometry, *shares)
