"""Outcomes as the table of the Inspect page shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from app.parts.table import Sum, TableData
from fitprune_core.evaluation.outcomes import Given, Outcomes, Side, Summary, is_same, summaries
from fitprune_core.evaluation.significance import Share

# What a browser takes at once without effort; more is cut, and the page says so.
MOST_ANSWERS = 250_000


def table_of(
    outcomes: Outcomes, title: str, *, has_pictures: bool, placed: Callable[[Side], str] = lambda side: ""
) -> tuple[TableData, str]:
    """What the table shows, and what was left out, in words, or nothing.

    placed: where a side's method drops, in words.
    """
    most = max(1, MOST_ANSWERS // len(outcomes.sides))
    count = min(len(outcomes.questions), most)
    left_out = ""
    if count < len(outcomes.questions):
        shown = f"the first {count:,} of {len(outcomes.questions):,} questions"
        left_out = f"The table shows {shown}; the sums are of all of them."
    original = outcomes.sides[0]
    rows = [[asked.id, asked.kind, asked.text, asked.expected] for asked in outcomes.questions[:count]]
    answers = [[given.text if given else "" for given in side.answers[:count]] for side in outcomes.sides]
    digest = hashlib.sha256(repr((title, rows, answers)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return TableData(
        title=title,
        fingerprint=digest,
        sides=[side.name for side in outcomes.sides],
        placed=[placed(side) for side in outcomes.sides],
        rows=rows,
        answers=answers,
        marks=["".join(map(_mark, side.answers[:count])) for side in outcomes.sides],
        same=[_same(side, original, count) for side in outcomes.sides],
        margins=_margins(outcomes, count),
        sums={kind: [_sum(each) for each in summaries(outcomes, among)] for kind, among in _by_kind(outcomes).items()},
        has_pictures=has_pictures,
    ), left_out


def _by_kind(outcomes: Outcomes) -> dict[str, list[int] | None]:
    """The questions of each kind, and all under ""; no kinds where there is but one."""
    kinds: dict[str, list[int]] = {}
    for index, asked in enumerate(outcomes.questions):
        kinds.setdefault(asked.kind, []).append(index)
    found: dict[str, list[int] | None] = {"": None}
    if len(kinds) > 1:
        found |= {kind: kinds[kind] for kind in sorted(kinds) if kind}
    return found


def _mark(given: Given | None) -> str:
    if given is None:
        return " "
    return "-" if given.right is None else str(int(given.right))


def _margins(outcomes: Outcomes, count: int) -> list[list[float]]:
    """Of each side; nothing where no answer says how sure it was, as those of lmms-eval."""
    found = [[_margin(given) for given in side.answers[:count]] for side in outcomes.sides]
    return found if any(margin >= 0 for of_side in found for margin in of_side) else []


def _margin(given: Given | None) -> float:
    return -1.0 if given is None or given.margin is None else given.margin


def _same(side: Side, original: Side, count: int) -> str:
    pairs = zip(side.answers[:count], original.answers[:count], strict=True)
    return "".join(" " if mine is None or first is None else str(int(is_same(mine, first))) for mine, first in pairs)


def _sum(summary: Summary) -> Sum:
    return Sum(
        right=_share(summary.right),
        same=_share(summary.same),
        against=summary.against.in_words if summary.against else "",
        gflops=summary.visual_gflops,
    )


def _share(share: Share | None) -> list[float]:
    return [share.right, share.asked, share.low, share.high] if share else []
