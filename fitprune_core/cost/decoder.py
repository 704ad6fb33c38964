"""What a decoder's work on the visual tokens costs: the budget of the paper (arXiv 2409.10197).

`statistical_analysis.py` of github.com/ywh187/FitPrune counts the same terms. The conventions are those of `cost`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

from fitprune_core.checks.numbers import is_integer, whole
from fitprune_core.checks.words import shown
from fitprune_core.cost.tower import field_of

# No size of a model comes near it, and sums of products of such sizes are still finite as floats.
LARGEST_SIZE = 2**32


@dataclass(frozen=True)
class DecoderGeometry:
    """The sizes of a decoder that decide its cost: a gated MLP and grouped-query attention (Llama, Mistral, Qwen2).

    `query_width` is heads times head size, `kv_width` key/value heads times head size.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    query_width: int
    kv_width: int
    vocab_size: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = whole(f"{field.name} of a decoder", getattr(self, field.name), 1, LARGEST_SIZE)
            object.__setattr__(self, field.name, value)

    @classmethod
    def from_config(cls, model_config: Any) -> DecoderGeometry:
        """Read the sizes off a composite configuration (its `text_config`), a text configuration, or another geometry.

        Raises ValueError naming the field that is missing.
        """
        if isinstance(model_config, cls):
            return model_config
        text = getattr(model_config, "text_config", None) or model_config
        heads = field_of(text, "num_attention_heads")
        hidden_size = field_of(text, "hidden_size")
        if not is_integer(heads) or heads < 1:
            raise ValueError(f"num_attention_heads must be a positive whole number, not {shown(heads)}")
        head_dim = getattr(text, "head_dim", None) or hidden_size // heads
        return cls(
            num_layers=field_of(text, "num_hidden_layers"),
            hidden_size=hidden_size,
            intermediate_size=field_of(text, "intermediate_size"),
            query_width=heads * head_dim,
            kv_width=(getattr(text, "num_key_value_heads", None) or heads) * head_dim,
            vocab_size=field_of(text, "vocab_size"),
        )

    def before_drop(self, tokens: int) -> int:
        """Multiply-adds of a layer until its attention is done, over `tokens` rows: q, k, v, scores, weighted sum."""
        return tokens * self.hidden_size * (self.query_width + 2 * self.kv_width) + 2 * tokens**2 * self.query_width

    def after_drop(self, tokens: int) -> int:
        """Multiply-adds of a layer from its output projection on, over `tokens` rows: o, and the three of the MLP."""
        return tokens * self.hidden_size * (self.query_width + 3 * self.intermediate_size)


def check_removed(
    removed: Sequence[int], num_visual_tokens: int, num_layers: int | None = None, removed_before: int = 0
) -> tuple[int, ...]:
    """Return `removed` as a tuple of ints, or raise ValueError naming the layer and the value that cannot be.

    `removed[l]` is the number of visual tokens that layer l removes; `removed_before` went before the first layer.
    Counts are whole and not negative, there is one for each layer, and together they are at most `num_visual_tokens`.
    """
    whole("the number of visual tokens", num_visual_tokens, 0)
    whole("removed_before", removed_before, 0)
    for layer, count in enumerate(removed):
        if not is_integer(count):
            raise ValueError(f"removed[{layer}] is {shown(count)}; the count at each layer must be a whole number")
        if count < 0:
            raise ValueError(f"removed[{layer}] is {count}; a layer cannot remove fewer than 0 visual tokens")
    if num_layers is not None and len(removed) != num_layers:
        raise ValueError(f"removed has {len(removed)} entries; a model of {num_layers} layers needs {num_layers}")
    counts = tuple(operator.index(count) for count in removed)
    gone = sum(counts) + removed_before
    if gone > num_visual_tokens:
        before = f", {removed_before} of them before the first layer" if removed_before else ""
        raise ValueError(f"removed adds up to {gone} visual tokens{before}, but there are only {num_visual_tokens}")
    return counts


def tokens_per_layer(removed: Sequence[int], num_visual_tokens: int, removed_before: int = 0) -> list[int]:
    """Visual tokens that leave each layer, one count a layer. Raises ValueError as `check_removed` does."""
    counts = check_removed(removed, num_visual_tokens, removed_before=removed_before)
    return [num_visual_tokens - removed_before - gone for gone in accumulate(counts)]


def layer_visual_flops(
    model_config: Any, removed: Sequence[int], num_visual_tokens: int, removed_before: int = 0
) -> list[int]:
    """FLOPs (2 per multiply-add) that each layer spends on visual tokens alone.

    `model_config` is anything that `DecoderGeometry.from_config` takes. A layer's attention runs over the tokens that
    arrive, its output projection and MLP over those that leave (arXiv 2409.10197, section 3).
    """
    geometry = DecoderGeometry.from_config(model_config)
    check_removed(removed, num_visual_tokens, geometry.num_layers, removed_before)
    leaving = tokens_per_layer(removed, num_visual_tokens, removed_before)
    arriving = [num_visual_tokens - removed_before, *leaving[:-1]]
    return [2 * (geometry.before_drop(n) + geometry.after_drop(m)) for n, m in zip(arriving, leaving, strict=True)]


def visual_flops(model_config: Any, removed: Sequence[int], num_visual_tokens: int, removed_before: int = 0) -> int:
    """FLOPs (2 per multiply-add) of all layers on visual tokens alone; see `layer_visual_flops`."""
    return sum(layer_visual_flops(model_config, removed, num_visual_tokens, removed_before))


def visual_reduction(
    model_config: Any, removed: Sequence[int], num_visual_tokens: int, removed_before: int = 0
) -> float:
    """Share of the decoder's compute on visual tokens that is saved: 0 where nothing goes, 1 where all goes before it.

    This is the "FLOPs budget" of the paper. `removed[l]` visual tokens are dropped at layer l, between its attention
    and its output projection, and `removed_before` never reach the first layer. Raises ValueError for counts that
    cannot be, or when there are no visual tokens.
    """
    geometry = DecoderGeometry.from_config(model_config)
    if num_visual_tokens == 0:
        raise ValueError("there are 0 visual tokens, so there is no visual compute of which a share could be saved")
    full = visual_flops(geometry, [0] * geometry.num_layers, num_visual_tokens)
    return (full - visual_flops(geometry, removed, num_visual_tokens, removed_before)) / full
