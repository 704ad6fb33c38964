"""What a whole request costs, as a FLOP counter would see it: vision tower, projector, prefill with the text, scoring
and decoding. The conventions are those of `cost`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fitprune_core.checks.numbers import whole
from fitprune_core.checks.words import shown
from fitprune_core.cost.decoder import DecoderGeometry, check_removed, tokens_per_layer
from fitprune_core.cost.tower import field_of, projector_multiply_adds, tower_scoring_multiply_adds, view_multiply_adds

SCORE_KINDS = ("both", "self", "cross", "last", "none")
SCORE_KINDS_BEFORE = ("pairs", "tower", "none")


# Scores are computed for a block of query rows at a time, over the keys that its last row can see. A block has about
# this many probabilities (heads x rows x keys), 2 MB that a processor's cache holds, and at least so many rows.
SCORED_NUMBERS = 2**19


LEAST_SCORED_ROWS = 32


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


def request_flops(
    model_config: Any,
    removed: Sequence[int],
    num_visual_tokens: int,
    num_text_tokens: int,
    num_text_after: int,
    new_tokens: int,
    *,
    num_text_between: int = 0,
    num_tiles: int = 1,
    tower_multiply_adds: int | None = None,
    merger_multiply_adds: int | None = None,
    scores: str = "both",
    normaliser_known: bool = False,
    removed_before: int = 0,
    scores_before: str = "none",
) -> RequestFlops:
    """FLOPs of one whole request on a model with `model_config` (a composite configuration).

    Args:
        removed: visual tokens that each layer drops.
        num_visual_tokens: visual tokens in the prompt; 0 for a prompt without a picture, whose tower never runs.
        num_text_tokens: text tokens in the prompt, before, between and after the visual tokens.
        num_text_after: those of them that come after the last visual token.
        new_tokens: tokens that are generated. The first comes out of the prefill, so decoding has one step fewer.
        num_text_between: those of them that stand between visual tokens (SmolVLM's, between its tiles).
        num_tiles: pictures that the vision tower sees (LLaVA-NeXT cuts one picture into several).
        tower_multiply_adds, merger_multiply_adds: of the vision tower, and between tower and decoder, for the picture
            with all its tiles, as its family counts them (`models.family`); left out, they are those of `num_tiles`
            square views through a tower of LLaVA's.
        scores: which rows of attention a layer that drops is scored by: "both" (visual and later text), "self"
            (visual), "cross" (later text), "last" (the last row) or "none" (a method that needs no attention).
        normaliser_known: whether the attention's kernel tells what its softmax divides by
            (`decoder.tells_normaliser`): scoring then needs no columns but the visual ones.
        removed_before: visual tokens that are dropped before the first layer.
        scores_before: what is computed before it to choose by: "pairs" (every token of the picture compared with every
            other), "tower" (the attention of one layer of the vision tower, in `num_tiles` views) or "none".

    The language-model head is counted once for each new token, as `generate` runs it; a bare `model(**inputs)` without
    `logits_to_keep=1` would run it on every row. Raises ValueError for counts that cannot be.
    """
    geometry = DecoderGeometry.from_config(model_config)
    counts = check_removed(removed, num_visual_tokens, geometry.num_layers, removed_before)
    _check_counts(
        num_text_tokens=num_text_tokens,
        num_text_after=num_text_after,
        num_text_between=num_text_between,
        new_tokens=new_tokens,
    )
    if num_text_after > num_text_tokens:
        raise ValueError(f"num_text_after is {num_text_after}, more than all {num_text_tokens} text tokens")
    num_text_before = num_text_tokens - num_text_between - num_text_after
    if num_text_before < 0:
        raise ValueError(
            f"num_text_between is {num_text_between}, more than the {num_text_tokens - num_text_after} text tokens "
            "before the last visual one"
        )
    if scores not in SCORE_KINDS:
        raise ValueError(f"scores is {shown(scores)}; choose one of {', '.join(SCORE_KINDS)}")
    if scores_before not in SCORE_KINDS_BEFORE:
        raise ValueError(f"scores_before is {shown(scores_before)}; choose one of {', '.join(SCORE_KINDS_BEFORE)}")
    leaving = tokens_per_layer(counts, num_visual_tokens, removed_before)
    arriving = [num_visual_tokens - removed_before, *leaving[:-1]] if leaving else []
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
        _scored_pairs(heads, (num_text_before, num_text_between, num_text_after), n, scores, normaliser_known)
        for n, count in zip(arriving, counts, strict=True)
        if count
    )
    choosing = 0
    drops_any = removed_before > 0 or any(counts)
    if drops_any and scores_before == "pairs":
        choosing = num_visual_tokens**2 * geometry.hidden_size
    elif drops_any and scores_before == "tower":
        choosing = tiles * tower_scoring_multiply_adds(model_config)
    if tower_multiply_adds is None:
        tower_multiply_adds = tiles * view_multiply_adds(model_config) if tiles else 0
    if merger_multiply_adds is None:
        merger_multiply_adds = tiles * projector_multiply_adds(model_config, geometry.hidden_size) if tiles else 0
    return RequestFlops(
        vision_tower=2 * tower_multiply_adds if num_visual_tokens else 0,
        projector=2 * merger_multiply_adds if num_visual_tokens else 0,
        prefill=2 * (prefill + (head if new_tokens else 0)),
        scoring=2 * (geometry.query_width * scoring + choosing),
        decode=2 * decode,
    )


def _decode_step(geometry: DecoderGeometry, cached: Sequence[int], step: int) -> int:
    """Multiply-adds of the decoder for one new row that attends to each layer's own cache and `step` new tokens."""
    row = geometry.hidden_size * (geometry.query_width + 2 * geometry.kv_width) + geometry.after_drop(1)
    return sum(row + 2 * (keys + step) * geometry.query_width for keys in cached)


def scored_rows(heads: int, rows: int, numbers: int = SCORED_NUMBERS) -> int:
    """How many query rows of a layer that `rows` tokens arrive at are scored at a time."""
    return max(LEAST_SCORED_ROWS, numbers // (heads * rows))


def _scored_pairs(heads: int, text: tuple[int, int, int], visual: int, scores: str, normaliser_known: bool) -> int:
    """Query-key pairs that scoring multiplies at a layer that so many rows arrive at.

    text: text rows before, between and after the visual ones. Rows are scored in blocks; a softmax needs all keys that
    a block's last row can see, a known normaliser only the visual ones. With text between them, visual rows are no
    run, and blocks of theirs are multiplied with keys after them too.
    """
    before, between, after = text
    rows = before + between + visual + after
    if between and scores in ("both", "self"):
        queries = visual + (after if scores == "both" else 0)
        return queries * (visual if normaliser_known else rows)
    start, stop = {
        "both": (before, rows),
        "self": (before, before + visual),
        "cross": (rows - after, rows),
        "last": (rows - 1, rows),
        "none": (0, 0),
    }[scores]
    size = scored_rows(heads, rows)
    first, last = (before, before + visual) if normaliser_known and scores != "last" else (0, rows)
    blocks = ((at, min(at + size, stop)) for at in range(start, stop, size))
    return sum((end - at) * (min(end, last) - first) for at, end in blocks)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        whole(name, count, 0)
