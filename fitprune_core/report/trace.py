"""Where every visual token of a comparison went, as numbers that a browser draws (`view/scrubber`)."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from fitprune_core.cost.decoder import DecoderGeometry, layer_visual_flops, tokens_per_layer
from fitprune_core.report.names import called
from fitprune_core.run.results import ORIGINAL, Comparison, Pruning

# Sharp on a laptop, and small enough to send with every result.
PICTURE_SIDE, PICTURE_QUALITY = 640, 88


def trace_of(comparison: Comparison, image: Image.Image, geometry: DecoderGeometry) -> dict[str, Any]:
    """What the scrubber draws, as JSON has it. image: the picture that was asked about; geometry: of the decoder.

    image: the whole picture, scaled down, as a data URI. width, height: of the picture, in pixels; `seen` (the part
    that the model saw), `boxes` (one a visual token, None for one that shows no part of the picture) and `tiles` are
    left, top, right, bottom in these. views, rows, columns, merge, row_ends: as in `VisualLayout`. layers: of the
    decoder. original_gflops: that each layer spends on visual tokens with nothing pruned, 1e9 FLOPs, 2 per
    multiply-add. Of the side that is drawn, the second unless the first alone prunes: name, dropped_after, rank: as in
    `Comparison`; tokens: that leave each layer; pruned_gflops: as original_gflops. against: the same five of the first
    side, where both prune; else None.
    """
    layout, nothing = comparison.layout, [0] * geometry.num_layers
    first, total = comparison.against, layout.num_tokens
    only_first = first is not None and comparison.method == ORIGINAL
    return {
        "image": data_uri(image, PICTURE_SIDE, PICTURE_QUALITY),
        "width": layout.image_size[0],
        "height": layout.image_size[1],
        "seen": _rounded(layout.seen),
        "boxes": [None if box is None else _rounded(box) for box in layout.boxes],
        "views": list(layout.views),
        "rows": layout.rows,
        "columns": layout.columns,
        "tiles": [_rounded(box) for box in layout.tiles],
        "merge": layout.merge,
        "row_ends": list(layout.row_ends),
        "layers": geometry.num_layers,
        "original_gflops": [_giga(count) for count in layer_visual_flops(geometry, nothing, total)],
        **_side(first if first is not None and only_first else comparison, geometry, total),
        "against": None if first is None or only_first else _side(first, geometry, total),
    }


def _side(pruning: Pruning, geometry: DecoderGeometry, total: int) -> dict[str, Any]:
    """What is drawn of one side of a comparison over `total` visual tokens."""
    removed, before = pruning.removed, pruning.num_dropped_before
    return {
        "name": called(pruning.title),
        "dropped_after": list(pruning.dropped_after),
        "rank": list(pruning.rank),
        "tokens": tokens_per_layer(removed, total, before),
        "pruned_gflops": [_giga(count) for count in layer_visual_flops(geometry, removed, total, before)],
    }


def data_uri(image: Image.Image, side: int, quality: int = 85) -> str:
    """An RGB picture as a JPEG data URI, its longer side at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _giga(count: float) -> float:
    """Six digits: more would only lengthen what is sent to a browser."""
    return float(f"{count / 1e9:.6g}")


def _rounded(box: tuple[float, float, float, float]) -> list[float]:
    return [round(value, 2) for value in box]
