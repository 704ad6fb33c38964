"""The attention that visual tokens receive: head-wise maximum, averaged over the queries, from queries and keys.

The full attention matrix of a layer never exists. Queries are taken in blocks; a block's softmax runs in float32 over
the keys that its last query can see, and only the columns of the visual tokens are reduced further. What is held at
once is heads x block x keys. Where the attention's own kernel hands out what its softmax divides by, only the visual
columns are ever made. Where narrow layers make that small one block is enough, because many small kernels would
cost more than the half of the square that causality saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from fitprune_core.cost.request import scored_rows

# An accelerator wants few large kernels: blocks there grow until a block's probabilities hold this many numbers.
ACCELERATOR_BLOCK_NUMBERS = 2**24

Rows = slice | torch.Tensor  # a contiguous run, or ascending row numbers: LongTensor (count,)


@dataclass(frozen=True)
class LayerAttention:
    """The attention of one sample in one layer, from which its visual tokens are scored.

    query: (heads, rows, head size); key: (key/value heads, rows, head size); normaliser: (heads, rows) or None, as in
    `Attended`; rows are the tokens that arrive at the layer, in order, without padding. visual: the rows of visual
    tokens. text_after: the rows of the text after the last of them.
    """

    query: torch.Tensor
    key: torch.Tensor
    scaling: float
    visual: Rows
    text_after: slice
    normaliser: torch.Tensor | None = None

    @property
    def num_visual_tokens(self) -> int:
        """Visual tokens that arrive."""
        return _count(self.visual)

    def self_attention(self) -> torch.Tensor:
        """s_j: attention that visual token j receives from the mean visual token; float32, (visual tokens,)."""
        return self.received(self.visual)[0]

    def cross_attention(self) -> torch.Tensor:
        """c_j: attention that visual token j receives from the mean text token after the image; (visual tokens,)."""
        return self.received(self.text_after)[0]

    def self_and_cross(self) -> torch.Tensor:
        """Both of the above, (2, visual tokens); cheaper than one after the other."""
        return self.received(self.visual, self.text_after)

    def last_query_attention(self) -> torch.Tensor:
        """Attention received from the prompt's last token, averaged over heads as FastV does; (visual tokens,)."""
        last = slice(self.text_after.stop - 1, self.text_after.stop)
        _, seen = next(self._probabilities((last,)))
        return seen.mean(dim=0)[0]

    def received(self, *queries: Rows) -> torch.Tensor:
        """Largest attention over the heads that each visual token receives, mean over each group of `queries`.

        Returns float32 (groups, visual tokens), on the device of `query`. Raises ValueError for a group without a query
        to average over.
        """
        if self.normaliser is None:
            largest = ((group, seen.amax(dim=0)) for group, seen in self._probabilities(queries))
        else:
            largest = self._largest_probabilities(queries, self.normaliser)
        sums: list[list[torch.Tensor]] = [[] for _ in queries]
        for group, seen in largest:
            sums[group].append(seen.sum(dim=0))
        means = [self._total(of_group).div_(_count(rows)) for of_group, rows in zip(sums, queries, strict=True)]
        return torch.stack(means)

    def observed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Self- and cross-attention as above, (2, visual tokens), and the shares that they are parts of, (2,).

        A share is how much of all attention of the visual tokens, or of the text after them, goes to visual tokens at
        all (mean over queries and heads). The rest goes to the text, and would not be spread anew over fewer tokens.
        """
        queries = (self.visual, self.text_after)
        counts = self.query.new_tensor([_count(rows) for rows in queries], dtype=torch.float32)
        received, shares = counts.new_zeros(2, self.num_visual_tokens), counts.new_zeros(2)
        for group, seen in self._probabilities(queries):
            received[group, : seen.shape[-1]] += seen.amax(dim=0).sum(dim=0)
            shares[group] += seen.mean(dim=0).sum()
        return received / counts[:, None], shares / counts

    def _probabilities(self, queries: Sequence[Rows]) -> Iterator[tuple[int, torch.Tensor]]:
        """Attention of the visual columns that each block of queries can see: (group, (heads, block, columns))."""
        heads, rows, _ = self.query.shape
        keys = self.key.float().transpose(1, 2)
        for block, parts in self._blocks(queries):
            stop = block.stop if isinstance(block, slice) else rows
            logits = products(self.query[:, block], keys[..., :stop]).mul_(self.scaling)
            if isinstance(block, slice):
                # Added rather than filled in: on a CPU masked_fill_ takes longer than the product itself.
                logits[..., block.start :] += logits.new_full(2 * [_count(block)], -torch.inf).triu_(1)
            else:
                future = torch.arange(rows, device=logits.device) > block[:, None]
                logits += logits.new_zeros(future.shape).masked_fill_(future, -torch.inf)
            probabilities = torch.softmax(logits, dim=-1)
            visual = self.visual
            if isinstance(visual, slice):
                visual = slice(visual.start, min(visual.stop, stop))
            seen = probabilities[..., visual]
            yield from ((group, seen[:, part]) for group, part in parts)

    def _largest_probabilities(
        self, queries: Sequence[Rows], normaliser: torch.Tensor
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Largest attention over the heads of the visual columns of each block: (group, (block, columns)).

        A probability is the exponential of logit minus normaliser, so where normalisers are known the text's columns
        are not needed, and the largest is found before anything is exponentiated: one exponential for all heads.
        """
        keys = self.key[:, self.visual].float().transpose(1, 2)
        for block, parts in self._blocks(queries):
            columns, ahead = keys.shape[-1], None
            if isinstance(self.visual, slice) and isinstance(block, slice):
                # How far the block begins behind the first visual token: row r of it sees r + ahead, and those before.
                ahead = block.start - self.visual.start
                columns = min(ahead + _count(block), columns)
            logits = products(
                self.query[:, block], keys[..., :columns], minus=normaliser[:, block], scaling=self.scaling
            )
            largest = logits.amax(dim=0).exp_()
            if ahead is None:
                largest.masked_fill_(self._numbers(self.visual) > self._numbers(block)[:, None], 0.0)
            else:
                largest.tril_(ahead)
            yield from ((group, largest[part]) for group, part in parts)

    def _total(self, sums: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sum of what each block adds to the columns that it can see, (visual tokens,)."""
        if len(sums) == 1 and len(sums[0]) == self.num_visual_tokens:
            return sums[0]
        total = self.query.new_zeros(self.num_visual_tokens, dtype=torch.float32)
        for of_block in sums:
            total[: len(of_block)] += of_block
        return total

    def _numbers(self, rows: Rows) -> torch.Tensor:
        return torch.arange(rows.start, rows.stop, device=self.query.device) if isinstance(rows, slice) else rows

    def _blocks(self, queries: Sequence[Rows]) -> Iterator[tuple[Rows, list[tuple[int, slice]]]]:
        """All queries in blocks: the rows of each, and which part of it belongs to which group."""
        if not all(map(_count, queries)):
            raise ValueError("there is no query to average attention over: the prompt needs text after its image")
        heads, rows, _ = self.query.shape
        joined = self._joined(queries)
        spans = list(pairwise(accumulate(map(_count, queries), initial=0)))
        size, total = _block_rows(self.query.device, heads, rows), spans[-1][1]
        for at in range(0, total, size):
            end = min(at + size, total)
            block = slice(joined.start + at, joined.start + end) if isinstance(joined, slice) else joined[at:end]
            parts = [
                (group, slice(max(start, at) - at, min(stop, end) - at)) for group, (start, stop) in enumerate(spans)
            ]
            yield block, [(group, part) for group, part in parts if part.start < part.stop]

    def _joined(self, groups: Sequence[Rows]) -> Rows:
        """All rows of all groups, in order; one run stays one."""
        runs = [rows for rows in groups if isinstance(rows, slice)]
        if len(runs) == len(groups) and all(a.stop == b.start for a, b in pairwise(runs)):
            return slice(runs[0].start, runs[-1].stop)
        return torch.cat([self._numbers(rows) for rows in groups])


def products(
    query: torch.Tensor, keys: torch.Tensor, *, minus: torch.Tensor | None = None, scaling: float = 1.0
) -> torch.Tensor:
    """Every query times every key, float32: (heads, block, head size), (key/value heads, head size, columns) to
    (heads, block, columns); times `scaling`, less `minus`, (heads, block), where that is given.

    Heads that share a key/value head stand below one another, so keys need no repetition.
    """
    shared = query.float().reshape(keys.shape[0], -1, query.shape[-1])
    if minus is None:
        products = torch.bmm(shared, keys)
    else:
        products = torch.baddbmm(minus.reshape(*shared.shape[:2], 1), shared, keys, beta=-1.0, alpha=scaling)
    return products.view(*query.shape[:2], keys.shape[-1])


def _block_rows(device: torch.device, heads: int, rows: int) -> int:
    return scored_rows(heads, rows) if device.type == "cpu" else scored_rows(heads, rows, ACCELERATOR_BLOCK_NUMBERS)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Scores are float32, also where the layer's own products are not."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def _count(rows: Rows) -> int:
    return max(rows.stop - rows.start, 0) if isinstance(rows, slice) else rows.shape[0]
