"""Read an exported comparison back, from its JSON or from the page that holds it: no model is needed."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from fitprune_core.checks.files import LARGEST_JSON, check_plain_file, parse_json
from fitprune_core.checks.words import named, shown
from fitprune_core.cost.request import RequestFlops
from fitprune_core.models.layout import VisualLayout
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.report.export import FORMAT, VERSION
from fitprune_core.run.results import Comparison, Pruning, Run
from fitprune_core.run.timing import Paired

ENDINGS = (".json", ".html")  # of exports that can be read back
_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
# The picture in a trace is a small JPEG, written out; nothing else may stand in its place.
_PICTURE = re.compile(r"data:image/jpeg;base64,[A-Za-z0-9+/=]*\Z")
# What a trace holds (`trace.trace_of`): lists with an entry for each token, or each layer, and what is neither. Of each
# side; of the picture; and what older files lack.
_OF_TOKENS, _OF_LAYERS = ("dropped_after", "rank", "boxes", "views"), ("tokens", "pruned_gflops", "original_gflops")
_SIDE = ("name", "dropped_after", "rank", "tokens", "pruned_gflops")
_WHOLE = (*_SIDE, "image", "width", "height", "seen", "boxes", "views", "rows", "columns", "layers", "original_gflops")
_NEWER = ("tiles", "merge", "row_ends")


def read_export(path: str | os.PathLike) -> tuple[Comparison, dict[str, Any]]:
    """The comparison of an exported file, .json or .html, and its trace for the scrubber (`trace.trace_of`).

    Raises ValueError, one sentence that names the file, for what is no exported comparison, is damaged, or is of a
    version that is not known.
    """
    path = Path(path)
    size = check_plain_file(path, "comparison")
    if size > LARGEST_JSON:
        raise ValueError(f"{named(path)} has {size:,} bytes; an exported comparison has up to {LARGEST_JSON:,}")
    try:
        return parse_export(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{named(path)}: it is no text in UTF-8") from error
    except OSError as error:
        raise ValueError(f"{named(path)} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{named(path)}: {error}") from error


def parse_export(text: str) -> tuple[Comparison, dict[str, Any]]:
    """The same of the text of such a file. Raises ValueError, of which "it" is the comparison."""
    page = _DATA.search(text)
    entries = parse_json(page[1] if page else text)
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise ValueError("it is no exported comparison")
    if entries.get("version") != VERSION:
        raise ValueError(f"its version is {shown(entries.get('version'))}; this one reads version {VERSION}")
    if (odd := _odd_number(entries)) is not None:
        raise ValueError(f"it is a damaged comparison: it holds {odd}, which nothing measures")
    try:
        comparison = comparison_of(entries["comparison"])
        return comparison, _trace(entries["trace"], comparison)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"it is a damaged comparison ({type(error).__name__}: {error})") from error


def _odd_number(entries: Any) -> float | None:
    """A number without an end, or that is none, however deep it lies: Python's reader of JSON takes both."""
    waiting = [entries]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, float) and not math.isfinite(entry):
            return entry
        if isinstance(entry, dict | list):
            waiting.extend(entry.values() if isinstance(entry, dict) else entry)
    return None


def comparison_of(entries: Mapping[str, Any]) -> Comparison:
    """The reverse of `Comparison.to_json`.

    Raises KeyError, TypeError, AttributeError or ValueError for what is damaged.
    """
    texts: dict[str, Any] = {name: str(entries[name]) for name in ("model", "device", "question", "timing")}
    against = entries.get("against")
    return Comparison(
        **texts,
        **vars(_pruning(entries)),
        layout=_layout(entries),
        original=_run(entries["original"]),
        pruned=_run(entries["pruned"]),
        agree=bool(entries["agree"]),
        warnings=tuple(map(str, entries["warnings"])),
        paired={str(name): each and _paired(each) for name, each in entries["paired"].items()},
        against=None if against is None else _pruning(against),
    )


def _pruning(entries: Mapping[str, Any]) -> Pruning:
    """The reverse of `Pruning.pruning_to_json`."""
    kept_before = entries["kept_before"]
    simple: dict[str, Any] = {
        **{name: str(entries[name]) for name in ("method", "procedure")},
        **{name: float(entries[name]) for name in ("reduction", "achieved_reduction")},
        **{name: tuple(map(int, entries[name])) for name in ("removed", "dropped_after", "rank")},
        **{name: tuple(map(int, entries.get(name, ()))) for name in ("stay", "go")},
    }
    return Pruning(
        **simple,
        recipe=PruningRecipe.from_dict(entries["recipe"]),
        kept=tuple(tuple(map(int, tokens)) for tokens in entries["kept"]),
        kept_before=None if kept_before is None else tuple(map(int, kept_before)),
    )


def _run(entries: Mapping[str, Any]) -> Run:
    flops = RequestFlops(**{field.name: int(entries["flops"][field.name]) for field in fields(RequestFlops)})
    numbers = ("prefill_ms", "decode_ms", "visual_gflops", "total_gflops", "total_ms")
    per_token, margin = entries["per_token_ms"], entries.get("margin")
    return Run(
        answer=str(entries["answer"]),
        new_tokens=int(entries["new_tokens"]),
        kv_cache_bytes=int(entries["kv_cache_bytes"]),
        per_token_ms=None if per_token is None else float(per_token),
        flops=flops,
        token_ids=tuple(map(int, entries.get("token_ids", ()))),
        pieces=tuple(map(str, entries.get("pieces", ()))),
        margin=None if margin is None else float(margin),
        **{name: float(entries[name]) for name in numbers},
    )


def _layout(entries: Mapping[str, Any]) -> VisualLayout:
    width, height = map(int, entries["image_size"])
    _check_size(width, height)
    return VisualLayout(
        image_size=(width, height),
        boxes=tuple(box and _box(box) for box in entries["boxes"]),
        seen=_box(entries["seen"]),
        views=tuple(map(str, entries["views"])),
        tiles=tuple(map(_box, entries["tiles"])),
        row_ends=tuple(map(int, entries["row_ends"])),
        aspect=str(entries["aspect"]),
        **{name: int(entries[name]) for name in ("rows", "columns", "merge")},
    )


def _check_size(width: Any, height: Any) -> None:
    if not min(width, height) >= 1:
        raise ValueError(f"it is a damaged comparison: its picture has {shown(width)} x {shown(height)} pixels")


def _box(values: Any) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, values)
    return left, top, right, bottom


def _paired(entries: Mapping[str, Any]) -> Paired:
    interval, ratio = entries["interval"], float(entries["ratio"])
    if ratio <= 0 or (interval is not None and min(interval) <= 0):
        raise ValueError(f"it is a damaged comparison: its times have a ratio of {shown(entries['ratio'])}")
    (original, slowest), (pruned, slowest_pruned) = entries["original"], entries["pruned"]
    return Paired(
        rounds=int(entries["rounds"]),
        original=(float(original), float(slowest)),
        pruned=(float(pruned), float(slowest_pruned)),
        ratio=ratio,
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
    )


def _trace(entries: Mapping[str, Any], comparison: Comparison) -> dict[str, Any]:
    """What is known of a trace and nothing else, as long as its comparison has tokens and layers."""
    if not _PICTURE.match(entries["image"]):
        raise ValueError("its picture is no JPEG in base64")
    tokens, layers, against = comparison.layout.num_tokens, len(comparison.kept), entries.get("against")
    trace = _counted(entries, _WHOLE, tokens, layers)
    _check_size(trace["width"], trace["height"])
    trace |= {name: entries[name] for name in _NEWER if name in entries}
    for name in ("tiles", "row_ends"):
        if len(trace.get(name, ())) > tokens:
            raise ValueError(f"its trace has {len(trace[name]):,} {name} for {tokens:,} tokens")
    trace["against"] = None if against is None else _counted(against, _SIDE, tokens, layers)
    # In the order they came in: what is written again of it is the same text, by which it is known.
    return {name: trace[name] for name in entries if name in trace} | trace


def _counted(entries: Mapping[str, Any], names: tuple[str, ...], tokens: int, layers: int) -> dict[str, Any]:
    """Entries by name. Raises ValueError for a list that has not one for each token or layer."""
    counts = dict.fromkeys(_OF_TOKENS, tokens) | dict.fromkeys(_OF_LAYERS, layers)
    found = {name: entries[name] for name in names}
    for name in names:
        if name in counts and len(found[name]) != counts[name]:
            raise ValueError(f"its trace has {len(found[name]):,} {name}, not {counts[name]:,}")
    return {name: found[name] for name in entries if name in found}
