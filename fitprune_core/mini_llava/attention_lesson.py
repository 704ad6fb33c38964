"""A lesson for the decoder's attention: it belongs on what stands in the picture, not on the empty ground.

Language models that see bring this along from text. A decoder that starts from nothing does not need it: it wrote
notes into empty patches and read them there, and FitPrune, which ranks visual tokens by the attention that they
receive, dropped objects first. So while training, what FitPrune ranks by in the first layers (the product of self- and
cross-attention, each the largest over the heads) is asked to lie evenly on the patches that show something; and in
later layers, which look where the question sends them, what each token of the text pays to the picture is asked to lie
on such patches, whichever they are. Each, because one that speaks ("and now the next object") is rare among those that
only name: on their mean it could still read its notes. No token is dropped for it.
"""

from __future__ import annotations

import random

import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from fitprune_core.mini_llava.architecture import DECODER
from fitprune_core.mini_llava.lookups import WORD_LAYER
from fitprune_core.mini_llava.packing import SHARED, PackedBatch

# Where importance should be even: up to where names are asked what they name. And where text should not look at the
# ground: in all layers but the first, whose attention is diffuse.
EVEN_LAYERS, GROUND_LAYERS = range(WORD_LAYER), range(2, DECODER["num_hidden_layers"])
# A step asks some, drawn anew each time: all of them would double its time.
EVEN_A_STEP, GROUND_A_STEP, PICTURES_A_STEP = 1, 2, 6
# In nats: so much may lie elsewhere. The even share is meant roughly; text should hardly look at the ground.
EVEN_SLACK, GROUND_SLACK = 0.5, 0.05


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
    # Few tokens decide what comes next (the ends of questions, commas): they count as much as all that speak, or all.
    groups = (is_text, speaks, batch.is_late[pictures])
    visual = slice(batch.visual_start, batch.visual_start + on_object.shape[1])

    def to_visual(layer: int) -> torch.Tensor:
        return _largest_attention(decoder.layers[layer], states[layer][pictures], angles, mask)[..., visual]

    for_even = [to_visual(layer) for layer in rng.sample(EVEN_LAYERS, EVEN_A_STEP)]
    for_ground = [to_visual(layer) for layer in rng.sample(GROUND_LAYERS, GROUND_A_STEP)]
    uneven = [unevenness(paid[:, visual].mean(1), mean_paid(paid, is_text & ~speaks), shown) for paid in for_even]
    ground = torch.stack([(to_ground(paid, shown) - GROUND_SLACK).relu() for paid in for_ground])
    of_groups = torch.stack([ground[:, group].mean() for group in groups])
    return (torch.stack(uneven) - EVEN_SLACK).relu().mean() + of_groups.mean()


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
    """How far what each query pays, (B, T, visual tokens), is from being all on patches that show something.

    Returns (B, T), in nats.
    """
    # Queries before the picture pay nothing; the gradient of a logarithm of 0 would reach even those not asked for.
    least = torch.finfo(paid.dtype).tiny
    return paid.sum(-1).clamp_min(least).log() - (paid * on_object[:, None]).sum(-1).clamp_min(least).log()


def _largest_attention(layer, states: torch.Tensor, angles, mask: torch.Tensor) -> torch.Tensor:
    """Largest attention over the heads, (B, T, T), that a decoder layer pays."""
    attention = layer.self_attn
    normed = layer.input_layernorm(states)
    shape = (*normed.shape[:-1], -1, attention.head_dim)
    query, key = (project(normed).view(shape).transpose(1, 2) for project in (attention.q_proj, attention.k_proj))
    query, key = apply_rotary_pos_emb(query, key, *angles)
    return (query @ key.mT * attention.scaling + mask).softmax(-1).amax(1)
