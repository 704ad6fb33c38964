"""The attention that patches receive in the layer of a vision tower whose output a model reads: CLIP's and SigLIP's.

The two share one attention: projections of queries and keys with nothing between them and the product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# Kinds of vision towers whose attention is known here.
TOWERS = ("clip_vision_model", "siglip_vision_model")


def read_layer(model_config: Any) -> int | None:
    """Which layer of the tower (from 0) makes the features that the model reads, or None where no single one does."""
    place, layers = model_config.vision_feature_layer, model_config.vision_config.num_hidden_layers
    if not isinstance(place, int) or not -1 - layers < place <= layers or place == 0:
        return None  # several layers, or the patches as they enter the first
    return place - 1 if place > 0 else layers + place


def read_attention(model: Any) -> nn.Module:
    """The attention of that layer, with `q_proj`, `k_proj`, `num_heads` and `scale`."""
    return model.model.vision_tower.encoder.layers[read_layer(model.config)].self_attn


def received(
    query: torch.Tensor, key: torch.Tensor, *, heads: int, scaling: float, from_class_token: bool
) -> torch.Tensor:
    """Attention that each row receives: from the class token, the first row, or from the mean row; mean over heads.

    query, key: (views, rows, width), as they are projected. Returns float32 (views, rows). One view at a time: without
    a class token a view's whole matrix is made, heads x rows x rows.
    """
    means = []
    for queries, keys in zip(query, key, strict=True):
        by_head = queries[: 1 if from_class_token else None].float().unflatten(-1, (heads, -1)).transpose(0, 1)
        logits = torch.bmm(by_head, keys.float().unflatten(-1, (heads, -1)).permute(1, 2, 0)) * scaling
        means.append(logits.softmax(dim=-1).mean(dim=(0, 1)))
    return torch.stack(means)
