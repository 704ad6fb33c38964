"""Scores against the whole attention matrix, which only a test may afford."""

import pytest
import torch

from fitprune_core import attention
from fitprune_core.attention import LayerAttention, received_attention

SCALING = 0.25


def queries_and_keys(rows=150, heads=4, key_heads=2, head_size=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(heads, rows, head_size, generator=generator) * 2
    key = torch.randn(key_heads, rows, head_size, generator=generator) * 2
    return query.to(dtype), key.to(dtype)


def whole_matrix(query, key) -> torch.Tensor:
    """Causal attention probabilities in float64, (heads, rows, rows)."""
    key = key.repeat_interleave(query.shape[0] // key.shape[0], dim=0)
    logits = query.double() @ key.double().transpose(1, 2) * SCALING
    future = torch.ones(query.shape[1], query.shape[1], dtype=torch.bool).triu(1)
    return logits.masked_fill(future, -torch.inf).softmax(-1)


@pytest.mark.parametrize("over_heads", ["max", "mean"])
@pytest.mark.parametrize("queries", [slice(10, 130), slice(130, 150), slice(149, 150), slice(0, 64)])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_received_attention_is_that_of_the_whole_matrix(queries, key_heads, over_heads):
    query, key = queries_and_keys(key_heads=key_heads)
    visual = slice(10, 130)
    whole = whole_matrix(query, key)
    reduced = whole.amax(0) if over_heads == "max" else whole.mean(0)
    received = received_attention(query, key, SCALING, queries=queries, visual=visual, over_heads=over_heads)
    assert received.dtype == torch.float32
    torch.testing.assert_close(received.double(), reduced[queries, visual].mean(0), rtol=1e-5, atol=1e-8)


def test_rows_with_gaps():
    query, key = queries_and_keys()
    rows = torch.cat([torch.arange(5, 90), torch.arange(95, 140)])
    received = received_attention(query, key, SCALING, queries=rows, visual=rows)
    expected = whole_matrix(query, key).amax(0)[rows][:, rows].mean(0)
    torch.testing.assert_close(received.double(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_float32(dtype):
    query, key = queries_and_keys(dtype=dtype)
    received = received_attention(query, key, SCALING, queries=slice(10, 130), visual=slice(10, 130))
    expected = whole_matrix(query, key).amax(0)[10:130, 10:130].mean(0)
    assert received.dtype == torch.float32
    torch.testing.assert_close(received.double(), expected, rtol=1e-5, atol=1e-8)


def test_blocks_of_any_size_agree(monkeypatch):
    query, key = queries_and_keys()
    options = {"queries": slice(10, 130), "visual": slice(10, 130)}
    received = []
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(attention, "SCORED_ROWS_AT_ONCE", size)
        received.append(received_attention(query, key, SCALING, **options))
    for other in received[1:]:
        torch.testing.assert_close(other, received[0], rtol=1e-5, atol=1e-8)


def test_never_more_than_a_block_is_held(monkeypatch):
    """The largest tensor of probabilities is heads x block x keys, a small part of the whole matrix."""
    query, key = queries_and_keys(rows=1000)
    sizes = []
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda logits, dim: sizes.append(logits.numel()) or softmax(logits, dim))
    received_attention(query, key, SCALING, queries=slice(10, 980), visual=slice(10, 980))
    assert max(sizes) <= 4 * attention.SCORED_ROWS_AT_ONCE * 1000 < 4 * 1000 * 1000 / 10


def test_larger_blocks_on_an_accelerator():
    assert attention._block_rows(torch.device("cpu"), 32, 700) == attention.SCORED_ROWS_AT_ONCE
    assert attention._block_rows(torch.device("cuda"), 32, 700) == attention.ACCELERATOR_BLOCK_NUMBERS // (32 * 700)
    assert attention._block_rows(torch.device("cuda"), 32, 10**6) == attention.SCORED_ROWS_AT_ONCE


def test_layer_attention_names_the_queries():
    query, key = queries_and_keys()
    layer = LayerAttention(query, key, SCALING, visual=slice(10, 130), text_after=slice(130, 150))
    whole = whole_matrix(query, key)
    for found, expected in (
        (layer.self_attention(), whole.amax(0)[10:130, 10:130].mean(0)),
        (layer.cross_attention(), whole.amax(0)[130:150, 10:130].mean(0)),
        (layer.last_query_attention(), whole.mean(0)[149, 10:130]),
    ):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-8)
    assert layer.num_visual_tokens == 120


def test_no_query_to_average_over():
    query, key = queries_and_keys()
    with pytest.raises(ValueError, match="text after its image"):
        received_attention(query, key, SCALING, queries=slice(150, 150), visual=slice(10, 130))
