"""A lesson for the decoder's attention: it belongs on what stands in the picture, not on the empty ground.

Taught answers alone, the decoder wrote notes into empty patches, read them there, and rested its heads on them where
there was nothing to find. FitPrune, which ranks visual tokens by the attention that they receive, then dropped objects
first; and without the ground a description did not find its end. So while training, what FitPrune ranks by in the first
layers (the product of self- and cross-attention, each the largest over the heads) is asked to lie evenly on the patches
that show something; and in later layers, which look where the question sends them, no token of the text should look at
the ground, with any head. No token is dropped for it.
"""

from __future__ import annotations

import random

import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from app.demo_model.architecture import DECODER
from app.demo_model.lookups import WORD_LAYER
from app.demo_model.packing import SHARED, PackedBatch

# Where importance should be even: up to where names are asked what they name. And where text should not look at the
# ground: in all layers but the first, whose attention is diffuse.
EVEN_LAYERS, GROUND_LAYERS = range(WORD_LAYER), range(2, DECODER["num_hidden_layers"])
# A step asks some, drawn anew each time: all of them would double its time.
EVEN_A_STEP, GROUND_A_STEP, PICTURES_A_STEP = 1, 2, 6
# In nats: so much may lie elsewhere. The even share is meant roughly; text should hardly look at the ground.
EVEN_SLACK, GROUND_SLACK = 0.5, 0.02


def attention_loss(
    decoder, batch: PackedBatch, states: tuple[torch.Tensor, ...], on_object: torch.Tensor, rng: random.Random
) -> torch.Tensor:
    """What the first layers miss of an even share, and what text pays to the ground in later ones: two means, added.

    states: what enters each decoder layer, (B, T, width) each. on_object: bool (B, visual tokens), at least one a
    picture. `rng` draws the pictures and layers that are asked. In nats, beyond the slack.
    """
    pictures = rng.sample(range(len(on_object)), min(PICTURES_A_STEP, len(on_object)))
    angles = decoder.rotary_emb(states[0], batch.positions[pictures])
    mask, shown = batch.attention_mask()[pictures], on_object[pictures]
    is_text, speaks = (batch.segments > SHARED)[pictures], (batch.targets >= 0)[pictures]
    groups = [group[pictures] for group in _groups(batch)]
    visual = slice(batch.visual_start, batch.visual_start + on_object.shape[1])

    def paid(layer: int) -> torch.Tensor:
        return _attention(decoder.layers[layer], states[layer][pictures], angles, mask)[..., visual]

    uneven, ground = [], []
    for layer in rng.sample(EVEN_LAYERS, EVEN_A_STEP):
        largest = paid(layer).amax(1)
        uneven.append(unevenness(largest[:, visual].mean(1), mean_paid(largest, is_text & ~speaks), shown))
    for layer in rng.sample(GROUND_LAYERS, GROUND_A_STEP):
        beyond = (to_ground(paid(layer), shown) - GROUND_SLACK).relu()
        ground.append(torch.stack([beyond[group].mean() for group in groups]).mean())
    return (torch.stack(uneven) - EVEN_SLACK).relu().mean() + torch.stack(ground).mean()


def _groups(batch: PackedBatch) -> tuple[torch.Tensor, ...]:
    """Tokens that should not look at the ground, (B, T) each: every kind counts alike, however many there are.

    All text; what speaks; what decides what comes next, at the ends of questions and at commas; and of the first turn,
    the description, that and its end, where nothing more is found. These are fewest, and looked at the ground most.
    """
    speaks = batch.targets >= 0
    ends = speaks & (batch.segments != batch.segments.roll(-1, dims=1))
    return batch.segments > SHARED, speaks, batch.is_late, (batch.is_late | ends) & (batch.segments == SHARED + 1)


def mean_paid(paid: torch.Tensor, is_query: torch.Tensor) -> torch.Tensor:
    """What the mean query pays: (B, T, visual tokens) and bool (B, T) to (B, visual tokens)."""
    queries = is_query.float()
    return (paid * queries[..., None]).sum(1) / queries.sum(1, keepdim=True)


def unevenness(of_visual: torch.Tensor, of_text: torch.Tensor, on_object: torch.Tensor) -> torch.Tensor:
    """How far the importance of visual tokens is from an even share on every patch that shows something: (B,), nats.

    of_visual, of_text: what visual tokens receive of the mean visual and text token, (B, visual tokens).
    """
    importance = (of_visual.log() + of_text.log()).log_softmax(-1)
    share = on_object.float() / on_object.sum(1, keepdim=True)
    return -(share * importance).sum(-1) - on_object.sum(1).log()


def to_ground(paid: torch.Tensor, on_object: torch.Tensor) -> torch.Tensor:
    """What the head that looks most at the ground pays to it, as the nats that it is from paying nothing: (B, T).

    paid: what each head of each query pays, (B, heads, T, visual tokens).
    """
    return -torch.log1p(-(paid * ~on_object[:, None, None]).sum(-1).amax(1).clamp_max(0.999))


def _attention(layer, states: torch.Tensor, angles, mask: torch.Tensor) -> torch.Tensor:
    """What a decoder layer pays: (B, heads, T, T)."""
    attention = layer.self_attn
    normed = layer.input_layernorm(states)
    shape = (*normed.shape[:-1], -1, attention.head_dim)
    query, key = (project(normed).view(shape).transpose(1, 2) for project in (attention.q_proj, attention.k_proj))
    query, key = apply_rotary_pos_emb(query, key, *angles)
    return (query @ key.mT * attention.scaling + mask).softmax(-1)
