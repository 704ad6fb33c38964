"""What this library repeats of a decoder in transformers: the attention of Llama, Mistral, Qwen2, Qwen3 and their kin.

They share one decoder layer and one attention, and nothing here reaches beyond what they share; `decoder_check` sees to
it that a model has nothing beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

# A layer of a decoder in transformers, and its attention. torch declares every attribute of a module "Tensor | Module",
# so no type says what they hold; `decoder_check` looks instead.
DecoderLayer = Any
DecoderAttention = Any


@dataclass(frozen=True)
class Attended:
    """What a layer attended with, for a batch: enough to score its visual tokens.

    query: (batch, heads, rows, head size) and key: (batch, key/value heads, rows, head size), both after rotary
    embedding. normaliser: the logarithm of the sum that each row's softmax divides by, float32 (batch, heads, rows),
    where the attention's kernel tells it, else None.
    """

    query: torch.Tensor
    key: torch.Tensor
    scaling: float
    normaliser: torch.Tensor | None = None


def decoder_layers(model: PreTrainedModel) -> Sequence[DecoderLayer]:
    """The decoder layers of a model, first to last."""
    return model.get_decoder().layers


def attend(
    attention: DecoderAttention,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None,
    past_key_values: Any,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None, Attended]:
    """The attention of a decoder layer up to its output projection, by the model's own backend.

    It follows `LlamaAttention.forward` of transformers (models/llama/modeling_llama.py), which keeps queries and keys
    to itself, and `Qwen3Attention.forward`, which normalises both, head by head. hidden_states: (batch, rows, width).
    Returns the heads' output (batch, rows, heads * head size), the attention probabilities where the backend makes
    them, and what was attended with.
    """
    query, key = query_and_key(attention, hidden_states, position_embeddings)
    value = attention.v_proj(hidden_states).view(*hidden_states.shape[:-1], -1, attention.head_dim).transpose(1, 2)
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, attention.layer_idx)
    dropout = attention.attention_dropout if attention.training else 0.0
    weights = normaliser = None
    is_plain_prompt = attention_mask is None and not dropout and query.shape[2] == key.shape[2] > 1
    # Autocast leaves the values in another type than rotated queries; SDPA itself sees to that.
    is_plain_prompt = is_plain_prompt and query.dtype == value.dtype
    if is_plain_prompt and tells_normaliser(attention.config, query.device):
        output, normaliser = _flash_on_cpu(query, key, value, attention.scaling)
    else:
        name = attention.config._attn_implementation
        backend = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager_attention_forward)
        output, weights = backend(
            attention, query, key, value, attention_mask, dropout=dropout, scaling=attention.scaling, **kwargs
        )
    return output.reshape(*hidden_states.shape[:-1], -1), weights, Attended(query, key, attention.scaling, normaliser)


def query_and_key(
    attention: DecoderAttention, hidden_states: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys after rotary embedding, (batch, heads or key/value heads, rows, head size).

    hidden_states: (batch, rows, width).
    """
    shape = (*hidden_states.shape[:-1], -1, attention.head_dim)
    query, key = attention.q_proj(hidden_states).view(shape), attention.k_proj(hidden_states).view(shape)
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm(query), attention.k_norm(key)
    return apply_rotary_pos_emb(query.transpose(1, 2), key.transpose(1, 2), *position_embeddings)


def tells_normaliser(text_config: Any, device: torch.device) -> bool:
    """Whether a decoder's attention to a prompt without padding runs on a kernel that tells its softmax's normaliser.

    That is the CPU's flash kernel, which SDPA takes where every key/value head has one query head.
    """
    return (
        device.type == "cpu"
        and text_config._attn_implementation == "sdpa"
        and text_config.num_key_value_heads == text_config.num_attention_heads
        and torch.backends.cuda.flash_sdp_enabled()  # one switch for all devices; see torch.nn.attention.sdpa_kernel
    )


def _flash_on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention by the kernel that `scaled_dot_product_attention` chooses on the CPU, which drops one output.

    query, key, value: (batch, heads, rows, head size). Returns the output, (batch, rows, heads, head size), and the
    logarithm of the sum that each row's softmax divides by, float32 (batch, heads, rows).
    """
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output, normaliser = kernel(query, key, value, dropout_p=0.0, is_causal=True, scale=scaling)
    return output.transpose(1, 2), normaliser.float()  # of float64 it is float64
