"""FLOPs as torch counts them while a model runs: what the project's own arithmetic is held against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def _attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def counted_flops(work: Callable[[], object]) -> int:
    """FLOPs of the matrix products and convolutions that `work()` runs, 2 per multiply-add, without gradients.

    FlopCounterMode knows no formula for the CPU's fused attention and would silently count it as nothing, so it is
    told: queries times keys in full, like every other attention kernel in its registry.
    """
    kernels = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=kernels) as counter:
        work()
    return counter.get_total_flops()
