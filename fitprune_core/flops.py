"""What a request costs: floating-point operations of a LLaVA, from its configuration and the tokens at each layer.

Two conventions live here, and every figure says which one it follows:

* **visual**: the decoder's work on the visual tokens alone, which is what the authors of FitPrune call the budget
  (arXiv 2409.10197; `statistical_analysis.py` of github.com/ywh187/FitPrune counts the same terms);
* **request**: vision tower, projector, prefill with the text, scoring, and decoding, as a FLOP counter would see it.

FLOPs are 2 per multiply-add and cover matrix products (and the patch convolution) only: no norms, softmax, rotary
embedding or activation. Attention is counted as the full square, queries times keys, whether or not a kernel skips
its causal half. Everything is integer arithmetic, so equal inputs give equal figures on every machine.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

from fitprune_core.vision_flops import field_of, projector_multiply_adds, tower_multiply_adds

SCORE_KINDS = ("both", "self", "cross", "last", "none")

# Scores are computed for a block of query rows at a time, over the keys that its last row can see. A block has about
# this many probabilities (heads x rows x keys), 2 MB that a processor's cache holds, and at least so many rows.
SCORED_NUMBERS = 2**19
LEAST_SCORED_ROWS = 32


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
            value = getattr(self, field.name)
            if not _is_integer(value) or value < 1:
                raise ValueError(f"{field.name} of a decoder must be a positive whole number, not {value!r}")
            object.__setattr__(self, field.name, operator.index(value))

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


@dataclass(frozen=True)
class RequestFlops:
    """FLOPs of one request, 2 per multiply-add, by the part of the work that spends them."""

    vision_tower: int
    projector: int
    prefill: int
    scoring: int
    decode: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.vision_tower + self.projector + self.prefill + self.scoring + self.decode


def check_removed(removed: Sequence[int], num_visual_tokens: int, num_layers: int | None = None) -> tuple[int, ...]:
    """Return `removed` as a tuple of ints, or raise ValueError naming the layer and the value that cannot be.

    `removed[l]` is the number of visual tokens that layer l removes. Counts are whole and not negative, there is one
    for each layer, and together they are at most `num_visual_tokens`.
    """
    if not _is_integer(num_visual_tokens) or num_visual_tokens < 0:
        raise ValueError(f"the number of visual tokens must be a whole number from 0 up, not {num_visual_tokens!r}")
    for layer, count in enumerate(removed):
        if not _is_integer(count):
            raise ValueError(f"removed[{layer}] is {count!r}; the count at each layer must be a whole number")
        if count < 0:
            raise ValueError(f"removed[{layer}] is {count}; a layer cannot remove fewer than 0 visual tokens")
    if num_layers is not None and len(removed) != num_layers:
        raise ValueError(f"removed has {len(removed)} entries; a model of {num_layers} layers needs {num_layers}")
    counts = tuple(operator.index(count) for count in removed)
    if sum(counts) > num_visual_tokens:
        raise ValueError(f"removed adds up to {sum(counts)} visual tokens, but there are only {num_visual_tokens}")
    return counts


def tokens_per_layer(removed: Sequence[int], num_visual_tokens: int) -> list[int]:
    """Visual tokens that leave each layer, one count a layer. Raises ValueError as `check_removed` does."""
    counts = check_removed(removed, num_visual_tokens)
    return [num_visual_tokens - gone for gone in accumulate(counts)]


def layer_visual_flops(model_config: Any, removed: Sequence[int], num_visual_tokens: int) -> list[int]:
    """FLOPs (2 per multiply-add) that each layer spends on visual tokens alone.

    `model_config` is anything that `DecoderGeometry.from_config` takes. A layer's attention runs over the tokens that
    arrive, its output projection and MLP over those that leave (arXiv 2409.10197, section 3).
    """
    geometry = DecoderGeometry.from_config(model_config)
    check_removed(removed, num_visual_tokens, geometry.num_layers)
    leaving = tokens_per_layer(removed, num_visual_tokens)
    arriving = [num_visual_tokens, *leaving[:-1]]
    return [2 * (geometry.before_drop(n) + geometry.after_drop(m)) for n, m in zip(arriving, leaving, strict=True)]


def visual_flops(model_config: Any, removed: Sequence[int], num_visual_tokens: int) -> int:
    """FLOPs (2 per multiply-add) of all layers on visual tokens alone; see `layer_visual_flops`."""
    return sum(layer_visual_flops(model_config, removed, num_visual_tokens))


def visual_reduction(model_config: Any, removed: Sequence[int], num_visual_tokens: int) -> float:
    """Share of the decoder's compute on visual tokens that a recipe saves, 0 for an empty one and always below 1.

    This is the "FLOPs budget" of the paper. `removed[l]` visual tokens are dropped at layer l, between its attention
    and its output projection. Raises ValueError for counts that cannot be, or when there are no visual tokens.
    """
    geometry = DecoderGeometry.from_config(model_config)
    if num_visual_tokens == 0:
        raise ValueError("there are 0 visual tokens, so there is no visual compute of which a share could be saved")
    full = visual_flops(geometry, [0] * geometry.num_layers, num_visual_tokens)
    return (full - visual_flops(geometry, removed, num_visual_tokens)) / full


def request_flops(
    model_config: Any,
    removed: Sequence[int],
    num_visual_tokens: int,
    num_text_tokens: int,
    num_text_after: int,
    new_tokens: int,
    *,
    num_tiles: int = 1,
    scores: str = "both",
    normaliser_known: bool = False,
) -> RequestFlops:
    """FLOPs of one whole request on a LLaVA with `model_config` (a composite configuration).

    Args:
        removed: visual tokens that each layer drops.
        num_visual_tokens: visual tokens in the prompt; 0 for a prompt without a picture, whose tower never runs.
        num_text_tokens: text tokens in the prompt, before and after the picture.
        num_text_after: those of them that come after the picture.
        new_tokens: tokens that are generated. The first comes out of the prefill, so decoding has one step fewer.
        num_tiles: pictures that the vision tower sees (LLaVA-NeXT cuts one picture into several).
        scores: which rows of attention a layer that drops is scored by: "both" (visual and later text), "self"
            (visual), "cross" (later text), "last" (the last row) or "none" (a method that needs no attention).
        normaliser_known: whether the attention's kernel tells what its softmax divides by
            (`decoder.tells_normaliser`): scoring then needs no columns but the visual ones.

    The language-model head is counted once for each new token, as `generate` runs it; a bare `model(**inputs)` without
    `logits_to_keep=1` would run it on every row. Raises ValueError for counts that cannot be.
    """
    geometry = DecoderGeometry.from_config(model_config)
    counts = check_removed(removed, num_visual_tokens, geometry.num_layers)
    _check_counts(num_text_tokens=num_text_tokens, num_text_after=num_text_after, new_tokens=new_tokens)
    if num_text_after > num_text_tokens:
        raise ValueError(f"num_text_after is {num_text_after}, more than all {num_text_tokens} text tokens")
    if scores not in SCORE_KINDS:
        raise ValueError(f"scores is {scores!r}; choose one of {', '.join(SCORE_KINDS)}")
    leaving = tokens_per_layer(counts, num_visual_tokens)
    arriving = [num_visual_tokens, *leaving[:-1]] if leaving else []
    head = geometry.hidden_size * geometry.vocab_size
    prefill = sum(
        geometry.before_drop(n + num_text_tokens) + geometry.after_drop(m + num_text_tokens)
        for n, m in zip(arriving, leaving, strict=True)
    )
    cached = [n + num_text_tokens for n in arriving]
    decode = sum(_decode_step(geometry, cached, step) + head for step in range(1, new_tokens))
    tiles = num_tiles if num_visual_tokens else 0
    heads = field_of(model_config.text_config, "num_attention_heads")
    scoring = sum(
        _scored_pairs(heads, num_text_tokens - num_text_after, n, num_text_after, scores, normaliser_known)
        for n, count in zip(arriving, counts, strict=True)
        if count
    )
    return RequestFlops(
        vision_tower=2 * tiles * tower_multiply_adds(model_config) if tiles else 0,
        projector=2 * tiles * projector_multiply_adds(model_config, geometry.hidden_size) if tiles else 0,
        prefill=2 * (prefill + (head if new_tokens else 0)),
        scoring=2 * geometry.query_width * scoring,
        decode=2 * decode,
    )


def _decode_step(geometry: DecoderGeometry, cached: Sequence[int], step: int) -> int:
    """Multiply-adds of the decoder for one new row that attends to each layer's own cache and `step` new tokens."""
    row = geometry.hidden_size * (geometry.query_width + 2 * geometry.kv_width) + geometry.after_drop(1)
    return sum(row + 2 * (keys + step) * geometry.query_width for keys in cached)


def scored_rows(heads: int, rows: int, numbers: int = SCORED_NUMBERS) -> int:
    """How many query rows of a layer that `rows` tokens arrive at are scored at a time."""
    return max(LEAST_SCORED_ROWS, numbers // (heads * rows))


def _scored_pairs(heads: int, before: int, visual: int, after: int, scores: str, normaliser_known: bool) -> int:
    """Query-key pairs that scoring multiplies at a layer that so many rows arrive at, text before and after included.

    Rows are scored in blocks; a softmax needs all keys that a block's last row can see, a known normaliser only the
    visual ones.
    """
    rows = before + visual + after
    start, stop = {
        "both": (before, rows),
        "self": (before, before + visual),
        "cross": (before + visual, rows),
        "last": (rows - 1, rows),
        "none": (0, 0),
    }[scores]
    size = scored_rows(heads, rows)
    first, last = (before, before + visual) if normaliser_known and scores != "last" else (0, rows)
    blocks = ((at, min(at + size, stop)) for at in range(start, stop, size))
    return sum((end - at) * (min(end, last) - first) for at, end in blocks)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not _is_integer(count) or count < 0:
            raise ValueError(f"{name} must be a whole number from 0 up, not {count!r}")


def _is_integer(value: Any) -> bool:
    """Whether a value is a whole number of an integer type: Python's or numpy's, but neither a bool nor 3.0."""
    return hasattr(value, "__index__") and not isinstance(value, bool)
