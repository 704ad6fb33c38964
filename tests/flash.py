"""FlashAttention-2 without a GPU: its two kernels written out in plain torch, under transformers' own code for them.

Everything above the kernels is transformers': the 2-D masks, the unpadding, and the look for packed sequences.
"""

from __future__ import annotations

import math

import torch
from transformers import modeling_flash_attention_utils as flash

from fitprune_core.models.decoder_check import check_decoder

NAME = "flash_attention_2"


def one_sequence(query, key, value, causal, softmax_scale):
    """(rows, heads, size), (keys, key/value heads, size); causal to the lower right, as the package is since 2.1."""
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    scale = softmax_scale or 1 / math.sqrt(query.shape[-1])
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    if causal:
        rows, keys = scores.shape[1:]
        ahead = torch.ones(rows, keys, dtype=torch.bool).triu(keys - rows + 1)
        scores = scores.masked_fill(ahead, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), value)


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1)):
    """(batch, rows, heads, size), all rows of all sequences real."""
    return torch.stack([one_sequence(*parts, causal, softmax_scale) for parts in zip(q, k, v, strict=True)])


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False
):
    """(rows of all sequences, heads, size); `cu_seqlens` say where each sequence begins and ends."""
    ends = zip(cu_seqlens_q[:-1], cu_seqlens_q[1:], cu_seqlens_k[:-1], cu_seqlens_k[1:], strict=True)
    return torch.cat([one_sequence(q[a:b], k[c:d], v[c:d], causal, softmax_scale) for a, b, c, d in ends])


def use_flash_attention(model, monkeypatch) -> list[str]:
    """Let a model's decoder attend by the kernels above. Returns the list that the names of those called go to."""
    calls = []

    def counted(kernel):
        def call(*args, **kwargs):
            calls.append(kernel.__name__)
            return kernel(*args, **kwargs)

        return call

    arguments = flash._lazy_define_process_function(flash_attn_varlen_func)
    kernels = (counted(flash_attn_func), counted(flash_attn_varlen_func), None, flash._pad_input, flash._unpad_input)
    monkeypatch.setattr(flash, "lazy_import_flash_attention", lambda *args, **kwargs: (kernels, (arguments, dict)))
    model.config.text_config._attn_implementation = NAME
    check_decoder(model)  # which tries a few rows, once
    calls.clear()
    return calls
