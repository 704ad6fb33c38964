"""Scores against the whole attention matrix, which only a test may afford."""

from dataclasses import replace

import pytest
import torch

from fitprune_core.cost.request import LEAST_SCORED_ROWS, SCORED_NUMBERS
from fitprune_core.pruning import attention
from fitprune_core.pruning.attention import LayerAttention
from tests.marks import slow

SCALING = 0.25
VISUAL, AFTER = slice(10, 130), slice(130, 150)


def queries_and_keys(rows=150, heads=4, key_heads=2, head_size=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(heads, rows, head_size, generator=generator) * 2
    key = torch.randn(key_heads, rows, head_size, generator=generator) * 2
    return query.to(dtype), key.to(dtype)


def whole_logits(query, key) -> torch.Tensor:
    """Causal attention before softmax in float64, (heads, rows, rows)."""
    key = key.repeat_interleave(query.shape[0] // key.shape[0], dim=0)
    logits = query.double() @ key.double().transpose(1, 2) * SCALING
    future = torch.ones(query.shape[1], query.shape[1], dtype=torch.bool).triu(1)
    return logits.masked_fill(future, -torch.inf)


def whole_matrix(query, key) -> torch.Tensor:
    """Causal attention probabilities in float64, (heads, rows, rows)."""
    return whole_logits(query, key).softmax(-1)


def layer(visual=VISUAL, text_after=AFTER, told=False, **sizes) -> LayerAttention:
    """A layer with random queries and keys; `told`: with the normalisers that a kernel would tell."""
    query, key = queries_and_keys(**sizes)
    normaliser = whole_logits(query, key).logsumexp(-1).float() if told else None
    return LayerAttention(query, key, SCALING, visual, text_after, normaliser)


def assert_close(found, expected):
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("queries", [VISUAL, AFTER, slice(149, 150), slice(0, 64), slice(60, 140)])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_received_attention_is_that_of_the_whole_matrix(queries, key_heads, told):
    attended = layer(key_heads=key_heads, told=told)
    expected = whole_matrix(attended.query, attended.key).amax(0)[queries, VISUAL].mean(0)
    assert_close(attended.received(queries)[0], expected)


@pytest.mark.parametrize("told", [False, True])
def test_rows_with_gaps(told):
    rows, after = torch.cat([torch.arange(5, 90), torch.arange(95, 140)]), slice(140, 150)
    attended = layer(rows, after, told)
    whole = whole_matrix(attended.query, attended.key).amax(0)[:, rows]
    expected = torch.stack([whole[rows].mean(0), whole[after].mean(0)])
    assert_close(attended.self_and_cross(), expected)
    assert_close(attended.self_attention(), expected[0])


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_float32(dtype, told):
    attended = layer(dtype=dtype, told=told)
    assert_close(attended.self_attention(), whole_matrix(attended.query, attended.key).amax(0)[VISUAL, VISUAL].mean(0))


@pytest.mark.parametrize("told", [False, True])
def test_blocks_of_any_size_agree(monkeypatch, told):
    received = []
    for size in (1, 7, 64, 125, 1000):
        monkeypatch.setattr(attention, "_block_rows", lambda *_, size=size: size)
        received.append(layer(told=told).self_and_cross())
    for other in received[1:]:
        torch.testing.assert_close(other, received[0], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("told", [False, *slow(True)])
def test_never_more_than_a_block_is_held(monkeypatch, told):
    """The largest product of queries and keys is heads x block x keys, a small part of the whole matrix."""
    sizes = []
    products = attention.products

    def metered(*arguments, **options):
        made = products(*arguments, **options)
        sizes.append(made.numel())
        return made

    monkeypatch.setattr(attention, "products", metered)
    layer(slice(10, 2980), slice(2980, 3000), told, rows=3000).self_and_cross()
    assert max(sizes) <= SCORED_NUMBERS < 4 * 3000 * 3000 / 10


def test_larger_blocks_on_an_accelerator():
    assert attention._block_rows(torch.device("cpu"), 32, 700) == LEAST_SCORED_ROWS
    assert attention._block_rows(torch.device("cpu"), 4, 300) == SCORED_NUMBERS // (4 * 300)
    assert attention._block_rows(torch.device("cuda"), 32, 700) == attention.ACCELERATOR_BLOCK_NUMBERS // (32 * 700)
    assert attention._block_rows(torch.device("cuda"), 32, 10**6) == LEAST_SCORED_ROWS


@pytest.mark.parametrize("told", [False, True])
def test_layer_attention_names_the_queries(told):
    attended = layer(told=told)
    whole = whole_matrix(attended.query, attended.key)
    expected = torch.stack([whole.amax(0)[rows, VISUAL].mean(0) for rows in (VISUAL, AFTER)])
    assert_close(attended.self_attention(), expected[0])
    assert_close(attended.cross_attention(), expected[1])
    assert_close(attended.self_and_cross(), expected)
    assert_close(attended.last_query_attention(), whole.mean(0)[149, VISUAL])
    received, shares = attended.observed()
    assert_close(received, expected)
    assert_close(shares, torch.stack([whole.mean(0)[rows, VISUAL].sum(1).mean() for rows in (VISUAL, AFTER)]))
    assert attended.num_visual_tokens == 120


def test_no_query_to_average_over():
    empty = replace(layer(), text_after=slice(150, 150))
    for score in (empty.cross_attention, empty.self_and_cross):
        with pytest.raises(ValueError, match="text after its image"):
            score()
