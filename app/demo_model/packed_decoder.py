"""The decoder over a packed batch: the stock layers, with attention over what a question may see only.

Questions are most of a packed row's tokens and see the picture and themselves. A mask over the whole row would pay for
all pairs of questions; here the picture attends causally, and questions in chunks, each over the picture and its own
neighbourhood. Same numbers, less than half of attention's time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

SHARED, PADDING = 0, -1
_CHUNK = 80  # tokens


@dataclass(frozen=True)
class Chunk:
    """Queries `first` to `last`, which see the shared tokens and the keys from `lowest` to `last`, where mask is 0."""

    first: int
    last: int
    lowest: int
    mask: torch.Tensor  # (B, 1, queries, shared + own keys)


def chunks(segments: torch.Tensor, shared: int) -> list[Chunk]:
    """The questions' tokens in chunks. segments: (B, T) as in `PackedBatch`, of which the first `shared` are all 0."""
    length = segments.shape[1]
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    begin_of = torch.where(begins, torch.arange(length), 0).cummax(1).values
    found = []
    for first in range(shared, length, _CHUNK):
        last = min(first + _CHUNK, length)
        lowest = int(torch.where(segments[:, first] == PADDING, first, begin_of[:, first]).min())
        query, key = segments[:, first:last, None], segments[:, None, lowest:last]
        own = (key == query) & (torch.arange(lowest, last) <= torch.arange(first, last)[:, None])
        allowed = torch.cat([torch.ones(*own.shape[:2], shared, dtype=torch.bool), own], dim=-1)
        mask = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))
        found.append(Chunk(first, last, lowest, mask[:, None]))
    return found


def decode(
    decoder, embedded: torch.Tensor, positions: torch.Tensor, segments: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The last states, normalised, and the states that enter each layer: (B, T, width) each."""
    shared = int((segments == SHARED).sum(1).max())
    parts = chunks(segments, shared)
    angles = decoder.rotary_emb(embedded, positions)
    states, entering = embedded, []
    for layer in decoder.layers:
        entering.append(states)
        states = states + _attend(layer.self_attn, layer.input_layernorm(states), angles, shared, parts)
        states = states + layer.mlp(layer.post_attention_layernorm(states))
    return decoder.norm(states), tuple(entering)


def _attend(attention, states: torch.Tensor, angles, shared: int, parts: list[Chunk]) -> torch.Tensor:
    shape = (*states.shape[:-1], -1, attention.head_dim)
    query, key, value = (
        project(states).float().view(shape).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    with torch.autocast("cpu", enabled=False):  # attention in bfloat16 is slower than in float32
        query, key = apply_rotary_pos_emb(query, key, *angles)
        picture = slice(0, shared)
        seen = [
            scaled_dot_product_attention(query[:, :, picture], key[:, :, picture], value[:, :, picture], is_causal=True)
        ]
        for part in parts:
            near = slice(part.lowest, part.last)
            keys, values = (torch.cat([x[:, :, picture], x[:, :, near]], dim=2) for x in (key, value))
            seen.append(scaled_dot_product_attention(query[:, :, part.first : part.last], keys, values, part.mask))
    return attention.o_proj(torch.cat(seen, dim=2).transpose(1, 2).reshape(states.shape))
