"""Comparisons and evaluations as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fitprune_core.checks.units import flops, milliseconds, size
from fitprune_core.evaluation.significance import Share
from fitprune_core.evaluation.sureness import Sureness, doubts
from fitprune_core.evaluation.table import Score
from fitprune_core.run.results import Comparison, Pruning, Run
from fitprune_core.run.timing import Paired


def answers_in_words(comparison: Comparison) -> str:
    """What was asked and answered, and what went for it: some ten lines of text, which no time is needed for."""
    original, pruned = comparison.original, comparison.pruned
    sides = [comparison] if comparison.against is None else [comparison.against, comparison]
    names = _names(comparison)
    lines = [
        f"model     {comparison.model}, {comparison.device.replace(' · ', ', ')}",
        f"question  {comparison.question}",
        *(line for side in sides for line in _side_lines(side, comparison.layout.num_tokens)),
        "",
        f"{names[0]:<8}  {_indented(original.answer)}",
        f"{names[1]:<8}  {_indented(pruned.answer)}",
        f"          {'the same answer' if comparison.agree else 'another answer'}",
        "",
    ]
    return "\n".join(lines)


def doubts_in_words(comparison: Comparison, evaluated: Sequence[Sureness]) -> str:
    """What speaks against an answer by itself, a line for each; nothing where nothing does."""
    names = _names(comparison)
    found = zip(names, doubts(comparison, evaluated), strict=True)
    return "".join(f"{name:<8}  {said}\n" for name, said in found if said)


def figures_table(comparison: Comparison) -> str:
    """What both answers cost, as a table, and how the times were taken."""
    original, pruned = comparison.original, comparison.pruned
    rows = [("", *_names(comparison), "")]
    rows += [
        _row(label, write, value(original), value(pruned), times, comparison.paired.get(times))
        for label, write, value, times in _FIGURES
    ]
    return "\n".join([*_aligned(rows), "", f"Times: {comparison.timing}"])


def _names(comparison: Comparison) -> tuple[str, str]:
    return ("original", "pruned") if comparison.against is None else ("first", "second")


def _side_lines(side: Pruning, num_visual_tokens: int) -> list[str]:
    """What a side was asked to save, and what it left of so many visual tokens."""
    left = [len(tokens) for tokens in side.kept]
    painted = {"stay": side.stay, "go first": side.go}
    told = "; ".join(f"{name}: {' '.join(map(str, tokens))}" for name, tokens in painted.items() if tokens)
    return [
        f"budget    {side.achieved_reduction:.1%} of visual FLOPs saved ({side.reduction:.1%} asked), "
        f"ranked by {side.method}",
        f"tokens    {' '.join(map(str, left))} of {num_visual_tokens} visual tokens leave layers 1 to {len(left)}",
        *([f"painted   {told}"] if told else []),
    ]


def scores_table(scores: Sequence[Score]) -> str:
    """The sums of an evaluation, a line for each method and budget."""
    rows = [("method", "asked", "saved", "answers", "right", "as original", "visual", "total")]
    for score in scores:
        rows.append((
            score.method,
            f"{score.reduction:.0%}",
            f"{score.achieved_reduction:.1%}",
            str(score.samples),
            _share(score.right),
            _share(score.same),
            flops(score.visual_gflops),
            flops(score.total_gflops),
        ))  # fmt: skip
    about = (
        "asked, saved: share of visual FLOPs; right: of the samples whose answer is known; in brackets: 95 %\n"
        "intervals (Wilson, by picture); visual, total: mean FLOPs"
    )
    return "\n".join([*_aligned(rows), "", about])


def _share(share: Share | None) -> str:
    """ "97.1% (96.2 to 97.8)": a share with its interval; a dash where it is not known."""
    return "-" if share is None else f"{share.value:.1%} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _indented(text: str) -> str:
    """A text of several lines, set below each other behind a label."""
    return "\n          ".join(text.splitlines())


def _row(
    label: str,
    write: Callable[[float], str],
    original: float | None,
    pruned: float | None,
    times: str,
    paired: Paired | None,
):
    """A figure of both runs, and how they differ. Of times that says `Paired`: a percentage of two of them is noise."""
    if times:
        change = paired.words() if paired else ""
    else:
        change = f"{(pruned - original) / original:+.1%}" if original and pruned is not None else ""
    return label, _written(write, original), _written(write, pruned), change


def _written(write: Callable[[float], str], value: float | None) -> str:
    return "-" if value is None else write(value)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equally many cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


# How it is called, written, found in a run; and for times, found in `Comparison.paired`.
_FIGURES: Sequence[tuple[str, Callable[[float], str], Callable[[Run], float | None], str]] = (
    ("visual FLOPs", flops, lambda run: run.visual_gflops, ""),
    ("total FLOPs", flops, lambda run: run.total_gflops, ""),
    ("prefill", milliseconds, lambda run: run.prefill_ms, "prefill"),
    ("per token", milliseconds, lambda run: run.per_token_ms, "per_token"),
    ("prefill + decode", milliseconds, lambda run: run.total_ms, "total"),
    ("KV cache", size, lambda run: run.kv_cache_bytes, ""),
    ("new tokens", "{:.0f}".format, lambda run: run.new_tokens, ""),
)
