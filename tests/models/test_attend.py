"""Attention up to its output projection: the same as transformers' own, and what it tells besides."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fitprune_core.models.decoder import attend, decoder_layers
from tests.tiny import tiny_llava


def attend_and_compare(decoder: str = "llama", dtype=torch.float32):
    """One layer of a tiny model on random rows: (output of its own attention, ours, what was attended with)."""
    model = tiny_llava(decoder=decoder)[0].to(dtype)
    attention = decoder_layers(model)[0].self_attn
    hidden = torch.randn(2, 40, model.config.text_config.hidden_size, generator=torch.Generator().manual_seed(3)).to(
        dtype
    )
    positions = torch.arange(40)[None].expand(2, -1)
    rotary = model.get_decoder().rotary_emb(hidden, positions)
    with torch.no_grad():
        own, _ = attention(hidden, position_embeddings=rotary, attention_mask=None)
        output, _, attended = attend(attention, hidden, rotary, None, None)
        return own, attention.o_proj(output), attended


@pytest.mark.parametrize("decoder", ["llama", "mistral", "qwen2"])
def test_the_output_is_bit_for_bit_that_of_the_layer(decoder):
    own, ours, _ = attend_and_compare(decoder)
    assert torch.equal(own, ours)


def test_the_normaliser_is_that_of_the_softmax():
    _, _, attended = attend_and_compare()
    logits = attended.query.double() @ attended.key.double().transpose(2, 3) * attended.scaling
    logits = logits.masked_fill(torch.ones(40, 40, dtype=torch.bool).triu(1), -torch.inf)
    assert attended.normaliser.dtype == torch.float32
    torch.testing.assert_close(attended.normaliser.double(), logits.logsumexp(-1), rtol=1e-5, atol=1e-5)


def test_another_kernel_tells_none():
    with sdpa_kernel(SDPBackend.MATH):
        own, ours, attended = attend_and_compare()
    assert attended.normaliser is None
    assert torch.equal(own, ours)
