"""Which tokens every sample loses at every layer for one alpha, by stored attention; the heart of `fit.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from fitprune_core.recipes.token_groups import TokenGroups

# A run's end is found in two strides: whole blocks of this many tokens, then the tokens of one block.
_BLOCK = 16
# Cores share the samples, of which fewer than this are not worth a thread.
_FEWEST_SAMPLES = 64
_MOST_PARTS = 8


class TokenOrder:
    """The attention that decides, of all samples, with its order.

    kinds: of each kind of attention, (samples, layers, tokens); shares: of each, (samples, layers); token_counts:
    (samples,).
    """

    def __init__(self, kinds: list[np.ndarray], shares: list[np.ndarray], token_counts: np.ndarray) -> None:
        self.num_samples, self.num_layers, _ = kinds[0].shape

        count = max(1, min(_cores(), _MOST_PARTS, self.num_samples // _FEWEST_SAMPLES))
        ends = [self.num_samples * number // count for number in range(count + 1)]

        def part(first: int, end: int) -> _Part:
            some = slice(first, end)
            return _Part([kind[some] for kind in kinds], [share[some] for share in shares], token_counts[some])

        with _each(count) as each:
            self.parts = list(each(part, ends[:-1], ends[1:]))


class Walked(NamedTuple):
    """Tokens removed at each layer, summed over each group, (groups, num_layers) float64; is_over: of all layers, or of
    those until enough was removed, and 0 from there on.
    """

    removed: np.ndarray
    is_over: bool


def walk(
    ranking: TokenOrder,
    alpha: float,
    layers: tuple[int, ...],
    groups: TokenGroups,
    is_enough: Callable[[np.ndarray], bool] = lambda removed: False,
) -> Walked:
    """What goes at each layer if `layers` may drop some, until what is removed `is_enough`."""
    left = [part.is_token.copy() for part in ranking.parts]
    removed = np.zeros((len(groups.tokens), ranking.num_layers))
    with _each(len(left)) as each:
        for layer in layers:
            if is_enough(removed):
                return Walked(removed, is_over=False)
            gone = each(lambda part, tokens, layer=layer: part.remove(layer, tokens, alpha), ranking.parts, left)
            removed[:, layer] = groups.sums(np.concatenate(list(gone)))
    return Walked(removed, is_over=True)


class _Part:
    """The attention of some samples.

    One layer of it is (rows, padded tokens), a row for every kind of attention and sample: padding is no token, weighs
    nothing and comes last.
    """

    def __init__(self, kinds: list[np.ndarray], shares: list[np.ndarray], token_counts: np.ndarray) -> None:
        num_samples, num_layers, self._num_tokens = kinds[0].shape
        self._kinds = kinds
        self._rows = len(kinds) * num_samples
        self._padded = -(-self._num_tokens // _BLOCK) * _BLOCK
        # Which places hold a token, (num_samples, padded tokens).
        self.is_token = np.arange(self._padded) < token_counts[:, None]
        self._tokens = np.tile(token_counts, len(kinds))
        self._share = np.concatenate(shares).T
        self._block_ones = np.ones(_BLOCK, dtype=np.float32)
        self._row_starts = np.arange(self._rows)[:, None] * self._padded
        # Each row's tokens by rank; small numbers, of which reading takes less than making them larger.
        self._order = np.empty((num_layers, self._rows, self._padded), dtype=np.min_scalar_type(self._padded))
        self._total = np.empty((num_layers, self._rows), dtype=np.float32)
        for layer in range(num_layers):
            values = self._values(layer, np.ones((), dtype=np.float32))
            self._order[layer] = self._ranked(values)
            self._total[layer] = self._sorted(layer, values)[1][:, -1]

    def remove(self, layer: int, left: np.ndarray, alpha: float) -> np.ndarray:
        """Take the tokens that go at a layer out of `left`; returns how many, (samples,).

        left: (samples, padded tokens), True for the tokens that arrive at the layer.
        """
        going = left & self._in_run(layer, left, alpha)
        left ^= going
        return np.count_nonzero(going, axis=1)

    def _values(self, layer: int, weights: np.ndarray) -> np.ndarray:
        """A layer's attention times weights, (samples, tokens) or one for all: (rows, padded tokens) float32."""
        values = np.zeros((len(self._kinds), len(self.is_token), self._padded), dtype=np.float32)
        for kind, room in zip(self._kinds, values, strict=True):
            np.multiply(kind[:, layer], weights, out=room[:, : self._num_tokens])
        return values.reshape(self._rows, self._padded)

    def _in_run(self, layer: int, left: np.ndarray, alpha: float) -> np.ndarray:
        """Which of the tokens that are left are so low that they can go: (samples, padded tokens) bool.

        Of other tokens it says nothing.
        """
        values = self._values(layer, left[:, : self._num_tokens].astype(np.float32))
        ordered, sums = self._sorted(layer, values)
        lost = self._total[layer] - sums[:, -1]
        allowed = _allowed_loss(self._total[layer], lost, self._share[layer], alpha)[:, None]
        whole = np.count_nonzero(sums <= allowed, axis=1)
        rows, last = np.arange(self._rows), sums.shape[1] - 1
        before = np.where(whole > 0, sums[rows, whole - 1], np.float32(0))[:, None]
        within = before + np.cumsum(ordered[rows, np.minimum(whole, last)], axis=1)
        ends = whole * _BLOCK + np.where(whole > last, 0, np.count_nonzero(within <= allowed, axis=1))
        low = self._lowest(layer, values, np.minimum(ends, self._tokens))
        return np.logical_and.reduce(low.reshape(-1, *left.shape))

    def _lowest(self, layer: int, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Which tokens are among the `counts` first of their row by rank: (rows, padded tokens) bool.

        values: the layer's, 0 where a token is gone; of those, and of padding, it says nothing.
        """
        rows, order = np.arange(self._rows), self._order[layer]
        last = order[rows, np.maximum(counts, 1) - 1].astype(np.intp)
        after = order[rows, np.minimum(counts, self._padded - 1)].astype(np.intp)
        highest, next_up = self._attention(layer, last), self._attention(layer, after)
        low = values <= np.where(counts > 0, highest, np.float32(-1))[:, None]
        # Equal attention goes by position.
        tied = np.flatnonzero((highest == next_up) & (counts > 0) & (counts < self._tokens))
        low[tied] &= (values[tied] < highest[tied, None]) | (np.arange(self._padded) <= last[tied, None])
        return low

    def _attention(self, layer: int, tokens: np.ndarray) -> np.ndarray:
        """The attention of one token of each row, (rows,); of padding it is that of the last token."""
        samples = np.arange(len(self.is_token))
        places = np.minimum(tokens, self._num_tokens - 1).reshape(len(self._kinds), -1)
        return np.concatenate([kind[samples, layer, at] for kind, at in zip(self._kinds, places, strict=True)])

    def _ranked(self, values: np.ndarray) -> np.ndarray:
        """The tokens of every row by attention, ascending, padding last; equal attention by position.

        Attention is never negative, so its bits as an integer are in the same order. With the position below them,
        every key is different: a plain sort is then stable, and several times faster than a stable argsort.
        """
        # Adding 0 turns -0.0 into 0.0, whose bits sort where they should.
        keys = (values + np.float32(0)).view(np.uint32).astype(np.uint64)
        if not self.is_token.all():
            keys[np.tile(~self.is_token, (len(self._kinds), 1))] = np.iinfo(np.uint32).max
        keys <<= np.uint64(32)
        keys |= np.arange(self._padded, dtype=np.uint64)
        keys.sort(axis=1)
        return keys & np.uint64(0xFFFFFFFF)

    def _sorted(self, layer: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values by rank, (rows, blocks, _BLOCK), and their sums up to the end of each block, (rows, blocks).

        A running sum over every token would take half of the time of a fit.
        """
        # As positions in the flattened layer, so that one `take` sorts it.
        order = self._order[layer] + self._row_starts
        ordered = values.take(order).reshape(self._rows, -1, _BLOCK)
        return ordered, (ordered @ self._block_ones).cumsum(axis=1)


def _allowed_loss(total: np.ndarray, lost: np.ndarray, share: np.ndarray, alpha: float) -> np.ndarray:
    """Attention, by the stored figures, that the tokens of a run may hold in one layer; (rows,) float32.

    Of a layer's attention `total`, the tokens that went before held `lost`, about share * lost / total of all that its
    queries give. Softmax makes up for that: what is left grows by g = 1 / (1 - share * lost / total). After the run at
    least (1 - alpha) * total must be left, so g * (total - lost - run) >= (1 - alpha) * total.
    """
    return (alpha * total - lost * (1 - (1 - alpha) * share)).astype(np.float32)


@contextmanager
def _each(count: int) -> Iterator[Callable]:
    """`map` for `count` pieces of work: in threads, which numpy lets run, where there are several."""
    if count == 1:
        yield map
        return
    with ThreadPoolExecutor(count) as pool:
        yield pool.map


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
