"""Which tokens every sample loses at every layer for one alpha, by stored attention; the heart of `fit.py`."""

from __future__ import annotations

import numpy as np

from fitprune_core.recipes.token_groups import TokenGroups

# A run's end is found in two strides: whole blocks of this many tokens, then the tokens of one block.
_BLOCK = 16


class Ranking:
    """The attention that decides, of all samples, with its order, laid out for walking.

    Arrays are (num_layers, rows, padded tokens), a row for every kind of attention and sample: padding is no token,
    weighs nothing and comes last.
    """

    def __init__(self, kinds: list[np.ndarray], shares: list[np.ndarray], token_counts: np.ndarray) -> None:
        self.num_samples, self.num_layers, num_tokens = kinds[0].shape
        self.rows = len(kinds) * self.num_samples
        self.padded = -(-num_tokens // _BLOCK) * _BLOCK
        # Which places hold a token, (num_samples, padded tokens).
        self.is_token = np.arange(self.padded) < token_counts[:, None]
        shape = (self.num_layers, self.rows, self.padded)
        self.values = np.zeros(shape, dtype=np.float32)
        self.order = np.empty((self.num_layers, self.rows * self.padded), dtype=np.intp)
        self.rank = np.empty(shape, dtype=np.min_scalar_type(self.padded))
        self.total = np.empty(shape[:2], dtype=np.float32)
        self.share = np.concatenate(shares).T
        keys = np.empty(shape[1:], dtype=np.uint64)
        ranks = np.tile(np.arange(self.padded, dtype=self.rank.dtype), self.rows)
        is_padding = np.tile(~self.is_token, (len(kinds), 1))
        self._block_ones = np.ones(_BLOCK, dtype=np.float32)
        for layer in range(self.num_layers):
            # Adding 0 turns -0.0 into 0.0, whose bits sort where they should.
            self.values[layer, :, :num_tokens] = np.concatenate([kind[:, layer] for kind in kinds]) + np.float32(0)
            self._rank_layer(layer, keys, ranks, is_padding)
            self.total[layer] = self._sorted(layer, self.values[layer])[1][:, -1]

    def in_run(self, layer: int, left: np.ndarray, alpha: float) -> np.ndarray:
        """Which tokens are so low that they can go, or have gone: (num_samples, padded tokens) bool.

        left: (num_samples, padded tokens), True for the tokens that arrive at the layer.
        """
        kinds = (-1, *left.shape)
        values = (self.values[layer].reshape(kinds) * left.astype(np.float32)).reshape(self.rows, -1)
        ordered, sums = self._sorted(layer, values)
        lost = self.total[layer] - sums[:, -1]
        allowed = _allowed_loss(self.total[layer], lost, self.share[layer], alpha)[:, None]
        whole = np.count_nonzero(sums <= allowed, axis=1)
        rows, last = np.arange(self.rows), sums.shape[1] - 1
        before = np.where(whole > 0, sums[rows, whole - 1], np.float32(0))[:, None]
        within = before + np.cumsum(ordered[rows, np.minimum(whole, last)], axis=1)
        ends = whole * _BLOCK + np.where(whole > last, 0, np.count_nonzero(within <= allowed, axis=1))
        low = self.rank[layer] < ends.astype(self.rank.dtype)[:, None]
        return low.reshape(kinds).all(axis=0)

    def _rank_layer(self, layer: int, keys: np.ndarray, ranks: np.ndarray, is_padding: np.ndarray) -> None:
        """Order the tokens of every row by attention, ascending, padding last; equal attention by position.

        Attention is never negative, so its bits as an integer are in the same order. With the position below them,
        every key is different: a plain sort is then stable, and several times faster than a stable argsort. `keys` is
        room for them, (rows, padded tokens) uint64; `ranks` counts up in each row, flattened; `is_padding`, (rows,
        padded tokens), says which places hold no token.
        """
        keys[:] = self.values[layer].view(np.uint32)
        keys[is_padding] = np.iinfo(np.uint32).max
        keys <<= np.uint64(32)
        keys |= np.arange(self.padded, dtype=np.uint64)
        keys.sort(axis=1)
        keys &= np.uint64(0xFFFFFFFF)
        order = keys.view(np.int64)
        # As positions in the flattened layer, so that one `take` sorts it.
        order += np.arange(self.rows)[:, None] * self.padded
        self.order[layer] = order.ravel()
        self.rank[layer].reshape(-1)[self.order[layer]] = ranks

    def _sorted(self, layer: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values by rank, (rows, blocks, _BLOCK), and their sums up to the end of each block, (rows, blocks).

        A running sum over every token would take half of the time of a fit.
        """
        ordered = values.take(self.order[layer]).reshape(self.rows, -1, _BLOCK)
        return ordered, (ordered @ self._block_ones).cumsum(axis=1)


def _allowed_loss(total: np.ndarray, lost: np.ndarray, share: np.ndarray, alpha: float) -> np.ndarray:
    """Attention, by the stored figures, that the tokens of a run may hold in one layer; (rows,) float32.

    Of a layer's attention `total`, the tokens that went before held `lost`, about share * lost / total of all that its
    queries give. Softmax makes up for that: what is left grows by g = 1 / (1 - share * lost / total). After the run at
    least (1 - alpha) * total must be left, so g * (total - lost - run) >= (1 - alpha) * total.
    """
    return (alpha * total - lost * (1 - (1 - alpha) * share)).astype(np.float32)


def walk(ranking: Ranking, alpha: float, layers: tuple[int, ...], groups: TokenGroups) -> np.ndarray:
    """Tokens removed at each layer if `layers` may drop some, summed over each group: (groups, num_layers) float64."""
    left = ranking.is_token.copy()
    removed = np.zeros((len(groups.tokens), ranking.num_layers))
    for layer in layers:
        going = left & ranking.in_run(layer, left, alpha)
        removed[:, layer] = groups.sums(np.count_nonzero(going, axis=1))
        left &= ~going
    return removed
