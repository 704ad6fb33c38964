"""What a prompt that loses visual tokens cannot come with, told before a layer has run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

# What tells flash attention where packed sequences begin and end.
_PACKED = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


def check_padding(padding: torch.Tensor | None) -> None:
    """Refuse a mask that is not the 2-D one of a processor."""
    if padding is not None and not isinstance(padding, torch.Tensor):
        raise ValueError(f"the attention mask is a {type(padding).__name__}; give the 2-D tensor of the processor")
    if padding is not None and padding.dim() != 2:
        raise ValueError(f"the attention mask has {padding.dim()} dimensions; give the 2-D one of the processor")


def check_packing(kwargs: Mapping[str, Any]) -> None:
    """Refuse several sequences in one row, which transformers tells by positions that begin anew, or is told of.

    After a drop masks are made for one sequence, and they would see each other.
    """
    positions = kwargs.get("position_ids")
    if positions is not None and positions.dim() == 3:  # M-RoPE's: the first of four is the text's, three have none
        positions = positions[0] if len(positions) == 4 else None
    is_whole = kwargs.get("attention_mask") is None  # with a mask transformers looks for no packed sequences
    begins_anew = is_whole and positions is not None and bool((positions.diff(dim=-1) < 0).any())
    if begins_anew or any(kwargs.get(name) is not None for name in _PACKED):
        raise ValueError("the prompt holds several packed sequences; give each a row of its own, with a padding mask")


def refuse_video(config: PretrainedConfig, kwargs: Mapping[str, Any]) -> None:
    """Refuse a prompt with a video: its tokens would be taken for text, and nothing of it would be pruned."""
    ids, padding, video = kwargs.get("input_ids"), kwargs.get("attention_mask"), getattr(config, "video_token_id", None)
    is_there = kwargs.get("pixel_values_videos") is not None
    if ids is not None and video is not None and video != config.image_token_id:
        is_video = ids == video
        if padding is not None and padding.shape == ids.shape:
            is_video = is_video & padding.bool()  # padding may be of any tokens
        is_there = is_there or bool(is_video.any())
    if is_there:
        raise ValueError("the prompt holds a video, and only pictures are pruned; ask about it outside the block")
