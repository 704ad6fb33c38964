"""The attention that visual tokens receive: head-wise maximum, averaged over the queries, from queries and keys.

The full attention matrix of a layer never exists. Queries are taken in blocks; a block's softmax runs in float32 over
the keys that its last query can see, and only the columns of the visual tokens are reduced further. What is held at
once is heads x block x keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fitprune_core.flops import SCORED_ROWS_AT_ONCE

# An accelerator wants few large kernels: blocks there grow until a block's probabilities hold this many numbers.
ACCELERATOR_BLOCK_NUMBERS = 2**24

Rows = slice | torch.Tensor  # a contiguous run, or ascending row numbers: LongTensor (count,)


@dataclass(frozen=True)
class LayerAttention:
    """What one layer attends with, for one sample: enough to score its visual tokens.

    query: (heads, rows, head size) and key: (key/value heads, rows, head size), both after rotary embedding; rows are
    the tokens that arrive at the layer, in order, without padding. visual: the rows of visual tokens. text_after: the
    rows of the text after the last of them.
    """

    query: torch.Tensor
    key: torch.Tensor
    scaling: float
    visual: Rows
    text_after: slice

    @property
    def num_visual_tokens(self) -> int:
        """Visual tokens that arrive."""
        return _count(self.visual)

    def self_attention(self) -> torch.Tensor:
        """s_j: attention that visual token j receives from the mean visual token; float32, (visual tokens,)."""
        return self._received(self.visual)

    def cross_attention(self) -> torch.Tensor:
        """c_j: attention that visual token j receives from the mean text token after the image; (visual tokens,)."""
        return self._received(self.text_after)

    def observed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Self- and cross-attention as above, (2, visual tokens), and the shares that they are parts of, (2,).

        A share is how much of all attention of the visual tokens, or of the text after them, goes to visual tokens at
        all (mean over queries and heads). The rest goes to the text, and would not be spread anew over fewer tokens.
        """
        received, shares = zip(*(self._observed(queries) for queries in (self.visual, self.text_after)), strict=True)
        return torch.stack(received), torch.stack(shares)

    def last_query_attention(self) -> torch.Tensor:
        """Attention received from the prompt's last token, averaged over heads as FastV does; (visual tokens,)."""
        last = slice(self.text_after.stop - 1, self.text_after.stop)
        return self._received(last, over_heads="mean")

    def _observed(self, queries: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        received = torch.zeros(self.num_visual_tokens, dtype=torch.float32, device=self.query.device)
        share = received.new_zeros(())
        for seen in _seen(self.query, self.key, self.scaling, queries, self.visual):
            received[: seen.shape[-1]] += seen.amax(dim=0).sum(dim=0)
            share += seen.mean(dim=0).sum()
        return received / _count(queries), share / _count(queries)

    def _received(self, queries: Rows, over_heads: str = "max") -> torch.Tensor:
        return received_attention(
            self.query, self.key, self.scaling, queries=queries, visual=self.visual, over_heads=over_heads
        )


def received_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    scaling: float,
    *,
    queries: Rows,
    visual: Rows,
    over_heads: str = "max",
) -> torch.Tensor:
    """Mean over `queries` of the causal attention that each row of `visual` receives, reduced over heads.

    query: (heads, rows, head size); key: (key/value heads, rows, head size), not repeated; every row is a real token.
    over_heads: "max" (arXiv 2409.10197) or "mean". Returns float32 (visual tokens,), on the device of `query`.
    Raises ValueError when there is no query to average over.
    """
    received = torch.zeros(_count(visual), dtype=torch.float32, device=query.device)
    for seen in _seen(query, key, scaling, queries, visual):
        reduced = seen.amax(dim=0) if over_heads == "max" else seen.mean(dim=0)
        received[: reduced.shape[-1]] += reduced.sum(dim=0)
    return received / _count(queries)


def _seen(
    query: torch.Tensor, key: torch.Tensor, scaling: float, queries: Rows, visual: Rows
) -> Iterator[torch.Tensor]:
    """Attention probabilities of the visual columns that a block of queries can see: (heads, block, columns) each."""
    if _count(queries) == 0:
        raise ValueError("there is no query to average attention over: the prompt needs text after its image")
    heads, rows, _ = query.shape
    keys = key.float().transpose(1, 2)
    for block in _blocks(queries, _block_rows(query.device, heads, rows)):
        logits = _causal_logits(query, keys, scaling, block)
        probabilities = torch.softmax(logits, dim=-1)
        columns = slice(visual.start, min(visual.stop, logits.shape[-1])) if isinstance(visual, slice) else visual
        yield probabilities[..., columns]


def _causal_logits(query: torch.Tensor, keys: torch.Tensor, scaling: float, block: Rows) -> torch.Tensor:
    """Attention of a block of queries before softmax, float32: (heads, block, keys that its last query can see)."""
    heads, rows, head_size = query.shape
    stop = block.stop if isinstance(block, slice) else rows
    count = _count(block)
    scaled = query[:, block].float() * scaling
    # Heads that share a key/value head stand below one another, so keys need no repetition.
    shared = scaled.reshape(keys.shape[0], -1, head_size)
    logits = torch.bmm(shared, keys[..., :stop]).view(heads, count, stop)
    if isinstance(block, slice):
        future = torch.ones(count, count, dtype=torch.bool, device=query.device).triu(1)
        logits[..., block.start :].masked_fill_(future, -torch.inf)
    else:
        future = torch.arange(rows, device=query.device) > block[:, None]
        logits.masked_fill_(future, -torch.inf)
    return logits


def _block_rows(device: torch.device, heads: int, rows: int) -> int:
    if device.type == "cpu":
        return SCORED_ROWS_AT_ONCE
    return max(SCORED_ROWS_AT_ONCE, ACCELERATOR_BLOCK_NUMBERS // (heads * rows))


def _blocks(queries: Rows, size: int) -> list[Rows]:
    if isinstance(queries, slice):
        return [slice(start, min(start + size, queries.stop)) for start in range(queries.start, queries.stop, size)]
    return list(queries.split(size))


def _count(rows: Rows) -> int:
    return max(rows.stop - rows.start, 0) if isinstance(rows, slice) else rows.shape[0]
