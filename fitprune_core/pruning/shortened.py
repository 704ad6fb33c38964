"""A cache whose first layer holds fewer rows than were read, because some were dropped before it."""

from __future__ import annotations

from functools import cache as remembered
from typing import Any


def report_whole_length(cache: Any, missing: int) -> None:
    """Let a transformers cache report `missing` more rows than its first layer holds, until it is emptied.

    Positions, and what is new of a sequence, are told by what layer 0 has seen (`Cache.get_seq_length()`), and dropped
    rows have been seen. What sizes attention masks goes on telling what each layer really holds.
    """
    cache.__class__ = _reporting(cache.__class__)
    cache.missing = missing


@remembered
def _reporting(kind: type) -> type:
    if hasattr(kind, "missing"):
        return kind

    class Shortened(kind):
        missing = 0

        def get_seq_length(self, layer_idx: int = 0) -> int:
            length = super().get_seq_length(layer_idx)
            if layer_idx == 0 and not length:
                self.missing = 0
            return length + self.missing if layer_idx == 0 else length

        def get_query_offset(self, layer_idx: int = 0) -> int:
            return super().get_seq_length(layer_idx)

    return Shortened
