"""What one request cost: the FLOPs of `cost`, from what went into the model and what was dropped inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from fitprune_core.cost.decoder import visual_flops, visual_reduction
from fitprune_core.cost.request import RequestFlops, request_flops
from fitprune_core.models.family import family_of, picture_of


@dataclass(frozen=True)
class RequestCost:
    """The work on one request; FLOPs are 2 per multiply-add.

    Attributes:
        visual_tokens: visual tokens of the picture, 0 without one.
        achieved_reduction: share of the decoder's visual compute that was saved; None without a picture.
        visual: FLOPs of the decoder on visual tokens alone.
        request: FLOPs of the whole request, by part.
    """

    visual_tokens: int
    achieved_reduction: float | None
    visual: int
    request: RequestFlops


def request_cost(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    removed: Sequence[int],
    new_tokens: int,
    scores: str,
    *,
    removed_before: int = 0,
    scores_before: str = "none",
) -> RequestCost:
    """Count one request that ran on `model`.

    inputs: of one prompt with at most one picture, as `build_inputs` makes them. removed: visual tokens that each layer
    dropped. new_tokens: tokens of the answer. scores: what the method read, see `cost.request.request_flops`.
    removed_before: of what was dropped before the first layer; scores_before: what was computed there.

    Scoring is counted as if no kernel told its softmax's normaliser, so that a figure is the same on every device.
    """
    config = model.config
    family, picture = family_of(config), picture_of(inputs)
    is_visual = family.visual_mask(config, inputs["input_ids"])[0]
    places = is_visual.nonzero()[:, 0].tolist()
    visual, length = len(places), len(is_visual)
    return RequestCost(
        visual_tokens=visual,
        achieved_reduction=visual_reduction(config, removed, visual, removed_before) if visual else None,
        visual=visual_flops(config, removed, visual, removed_before),
        request=request_flops(
            config,
            removed,
            visual,
            num_text_tokens=length - visual,
            num_text_after=length - 1 - places[-1] if visual else 0,
            num_text_between=places[-1] + 1 - places[0] - visual if visual else 0,
            new_tokens=new_tokens,
            num_tiles=picture.tiles,
            tower_multiply_adds=family.tower_multiply_adds(config, picture) if visual else 0,
            merger_multiply_adds=family.merger_multiply_adds(config, picture) if visual else 0,
            scores=scores,
            removed_before=removed_before,
            scores_before=scores_before,
        ),
    )
