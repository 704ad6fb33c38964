"""The series of the per-layer charts: numbers in, numbers out. The browser draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fitprune_core import DecoderGeometry, layer_visual_flops, tokens_per_layer


@dataclass(frozen=True)
class LayerSeries:
    """Per layer: visual tokens that leave it, and GFLOPs that it spends on visual tokens (2 FLOPs per multiply-add)."""

    tokens: list[int]
    original_gflops: list[float]
    pruned_gflops: list[float]


def layer_series(
    geometry: DecoderGeometry, removed: Sequence[int], num_visual_tokens: int, removed_before: int = 0
) -> LayerSeries:
    """The series for one request.

    removed: visual tokens removed at each layer; removed_before: before the first. Raises ValueError for
    counts that cannot be.
    """
    nothing = [0] * geometry.num_layers
    return LayerSeries(
        tokens=tokens_per_layer(removed, num_visual_tokens, removed_before),
        original_gflops=[_giga(count) for count in layer_visual_flops(geometry, nothing, num_visual_tokens)],
        pruned_gflops=[
            _giga(count) for count in layer_visual_flops(geometry, removed, num_visual_tokens, removed_before)
        ],
    )


def _giga(count: float) -> float:
    """Six digits: more would only lengthen what is sent to the browser."""
    return float(f"{count / 1e9:.6g}")
