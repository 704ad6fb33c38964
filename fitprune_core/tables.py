"""A comparison as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fitprune_core.results import Comparison, Run


def comparison_table(comparison: Comparison) -> str:
    """A comparison as some twenty lines of text."""
    original, pruned = comparison.original, comparison.pruned
    left = [len(tokens) for tokens in comparison.kept]
    head = [
        f"model     {comparison.model}, {comparison.device.replace(' · ', ', ')}",
        f"question  {comparison.question}",
        f"budget    {comparison.achieved_reduction:.1%} of visual FLOPs saved ({comparison.reduction:.1%} asked), "
        f"ranked by {comparison.method}",
        f"tokens    {' '.join(map(str, left))} of {comparison.layout.num_tokens} visual tokens leave layers 1 to "
        f"{len(left)}",
        "",
        f"original  {_indented(original.answer)}",
        f"pruned    {_indented(pruned.answer)}",
        f"          {'the same answer' if comparison.agree else 'another answer'}",
        "",
    ]
    rows = [("", "original", "pruned", "")]
    rows += [_row(label, write, value(original), value(pruned)) for label, write, value in _FIGURES]
    return "\n".join([*head, *_aligned(rows), "", f"Times: {comparison.timing}"])


def _indented(text: str) -> str:
    """A text of several lines, set below each other behind a label."""
    return "\n          ".join(text.splitlines())


def _row(label: str, write: Callable[[float], str], original: float | None, pruned: float | None):
    change = f"{(pruned - original) / original:+.1%}" if original and pruned is not None else ""
    return label, _written(write, original), _written(write, pruned), change


def _written(write: Callable[[float], str], value: float | None) -> str:
    return "-" if value is None else write(value)


def _aligned(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
        for row in rows
    ]


def _gflops(value: float) -> str:
    return f"{value:.4g} G"


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms"


def _kilobytes(value: float) -> str:
    return f"{value / 1024:,.0f} KiB"


_FIGURES: Sequence[tuple[str, Callable[[float], str], Callable[[Run], float | None]]] = (
    ("visual FLOPs", _gflops, lambda run: run.visual_gflops),
    ("total FLOPs", _gflops, lambda run: run.total_gflops),
    ("prefill", _milliseconds, lambda run: run.prefill_ms),
    ("per token", _milliseconds, lambda run: run.per_token_ms),
    ("prefill + decode", _milliseconds, lambda run: run.total_ms),
    ("KV cache", _kilobytes, lambda run: run.kv_cache_bytes),
    ("new tokens", "{:.0f}".format, lambda run: run.new_tokens),
)
