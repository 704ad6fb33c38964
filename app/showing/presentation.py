"""From a comparison to what the page shows: texts, bar lengths and the trace for the scrubber. No Gradio events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from app import figures
from app.asking.scenes import is_right
from app.asking.sides import Sides, side_name
from app.engine import Side
from app.parts.answers import Board, Card, Row
from app.parts.scrubber import Trace
from app.showing.differing import differing, pieces_of
from fitprune_core import Comparison, DecoderGeometry, Partial
from fitprune_core.checks.units import BLANK, flops, milliseconds, size
from fitprune_core.report import trace as report
from fitprune_core.report.trace import data_uri
from fitprune_core.run.results import ORIGINAL, Pruning

_COUNTED = "Counted, not measured: matrix products, 2 FLOPs per multiply-add."
_ABOUT = {
    "Visual FLOPs": f"The decoder's work on visual tokens during the prefill: what the budget is about. {_COUNTED}",
    "Total FLOPs": "The whole request: vision tower, projector, prefill with the text, scoring and decoding. "
    + _COUNTED,
    "Prefill": "From pixels and token ids to the first token of the answer, vision tower included.",
    "Per token": "Mean time of a token after the first. A dash where the answer is one token.",
    "Total time": "From the request to the last token of the answer. Where answers differ in length there is no ratio: "
    "it would be one of lengths.",
    "KV cache": "Measured: keys and values of all layers after the last token. 1 MB is a million bytes.",
    "Answer tokens": "Counted: tokens generated, the end mark included. Decoding is greedy in both runs.",
}
# What is measured, by its name in `Comparison.paired`.
_TIMED = {"Prefill": "prefill", "Per token": "per_token", "Total time": "total"}

_ABOUT_TIMES = "To the first token, per token and in all: measured on this server, both sides in turns."
_COUNTED_FIRST = 2  # rows before the times

# What is known of the times of a result: they are being measured, they are there, or the visitor stopped before.
MEASURING, MEASURED, UNMEASURED = "measuring", "measured", "unmeasured"


_USUAL = Sides()


@dataclass(frozen=True)
class _Figure:
    """A row's two figures as numbers, with how to write them and what they are to each other."""

    label: str
    original: float | None
    pruned: float | None
    write: Callable[[Any], str]
    ratio: figures.Ratio


def idle_board(percent: float, sides: Sides = _USUAL) -> Board:
    """Before anything has run: every slot in its place, empty."""
    rows = [Row(label=label, about=about) for label, about in _ABOUT.items()]
    original, pruned = (
        Card(name=name, percent=_percent_asked(side))
        for name, side in zip(sides.names, (sides.against(percent), sides.pruned(percent)), strict=True)
    )
    return Board(state="idle", percent=percent, original=original, pruned=pruned, rows=rows)


def _percent_asked(side: Side) -> float | None:
    if side.recipe is not None:
        return figures.percent(side.recipe.reduction)
    return None if side.method == ORIGINAL else side.percent


def queued_board(percent: float, sides: Sides = _USUAL) -> Board:
    """While others are before the visitor."""
    board = running_board(None, percent, sides)
    return board.model_copy(update={"original": board.original.model_copy(update={"state": "queued"})})


def running_board(partial: Partial | None, percent: float, sides: Sides = _USUAL) -> Board:
    """While the answers stream; `partial` is None until the first token of the first side."""
    board = idle_board(percent, sides)
    is_pruned = partial is not None and partial.stage == "pruned"
    original = {"answer": partial.original if partial else "", "state": "done" if is_pruned else "running"}
    pruned = {"answer": partial.pruned if partial else "", "state": "running" if is_pruned else "waiting"}
    cards = {"original": board.original.model_copy(update=original), "pruned": board.pruned.model_copy(update=pruned)}
    return board.model_copy(update={"state": "running", **cards})


def done_board(
    comparison: Comparison,
    truth: str | None,
    *,
    times: str = MEASURED,
    picture: str = "",
    sides: Sides = _USUAL,
    percent: float | None = None,
    doubts: tuple[str, str] = ("", ""),
) -> Board:
    """The result. truth: the answer that is known to be right, or None; picture: the key of the picture.

    percent: the page's budget; None for the comparison's own, that of the side that prunes.
    times: MEASURING or UNMEASURED leave out those of the comparison, which nothing was measured for yet.
    doubts: what speaks against each answer by itself, see `Engine.doubts`.
    """
    cards = _cards(comparison, truth, sides, doubts)
    return Board(
        state="measuring" if times == MEASURING else "done",
        percent=_percent_of(comparison) if percent is None else percent,
        question=comparison.question,
        picture=picture,
        sides=sides.key,
        original=cards[0],
        pruned=cards[1],
        rows=_rows(comparison, times),
        verdict="same" if comparison.agree else "different",
        truth=_truth_sentence(cards, truth),
        sentence=_sentence(comparison),
        model=comparison.model,
    )


def trace_of(comparison: Comparison, image: Image.Image, geometry: DecoderGeometry, sides: Sides = _USUAL) -> Trace:
    """What the scrubber draws. image: the picture that was asked about, as the model's processor got it."""
    trace = Trace(**report.trace_of(comparison, image, geometry))
    if trace.against is not None and sides.left in sides.own:
        trace = trace.model_copy(update={"against": trace.against.model_copy(update={"name": sides.left})})
    return trace.model_copy(update={"name": sides.right}) if sides.right in sides.own else trace


def _figures(comparison: Comparison) -> list[_Figure]:
    a, b = comparison.original, comparison.pruned
    saved, paired = figures.saving, comparison.paired
    times = [
        figures.speed(paired.get("prefill"), a.prefill_ms, b.prefill_ms),
        figures.speed(paired.get("per_token"), a.per_token_ms, b.per_token_ms),
        figures.speed(paired.get("total"), a.total_ms, b.total_ms),
    ]
    if a.new_tokens != b.new_tokens:
        times[2] = figures.Ratio(BLANK, "other length")
    return [
        _Figure("Visual FLOPs", a.visual_gflops, b.visual_gflops, flops, saved(a.visual_gflops, b.visual_gflops)),
        _Figure("Total FLOPs", a.total_gflops, b.total_gflops, flops, saved(a.total_gflops, b.total_gflops)),
        _Figure("Prefill", a.prefill_ms, b.prefill_ms, milliseconds, times[0]),
        _Figure("Per token", a.per_token_ms, b.per_token_ms, milliseconds, times[1]),
        _Figure("Total time", a.total_ms, b.total_ms, milliseconds, times[2]),
        _Figure("KV cache", a.kv_cache_bytes, b.kv_cache_bytes, size, saved(a.kv_cache_bytes, b.kv_cache_bytes)),
        _Figure(
            "Answer tokens", a.new_tokens, b.new_tokens, figures.count, figures.difference(a.new_tokens, b.new_tokens)
        ),
    ]


def _rows(comparison: Comparison, times: str) -> list[Row]:
    """All rows; of times that were not measured one, which says what to do."""
    found = _figures(comparison)
    if times != UNMEASURED:
        return [_row(figure, comparison, times) for figure in found]
    rows = [_row(figure, comparison, times) for figure in found if figure.label not in _TIMED]
    return [
        *rows[:_COUNTED_FIRST],
        Row(label="Times", about=_ABOUT_TIMES, note="press Run to measure them"),
        *rows[_COUNTED_FIRST:],
    ]


def _row(figure: _Figure, comparison: Comparison, times: str) -> Row:
    about, longest = _ABOUT[figure.label], max(figure.original or 0, figure.pruned or 0)
    if figure.label in _TIMED:
        if times == MEASURING:
            return Row(label=figure.label, about=about, pending=True)
        about = f"{about} {_how_timed(comparison, _TIMED[figure.label])}"
    return Row(
        label=figure.label,
        about=about,
        original=figure.write(figure.original),
        pruned=figure.write(figure.pruned),
        ratio=figure.ratio.text,
        word=figure.ratio.word,
        original_share=round((figure.original or 0) / longest, 4) if longest else 0.0,
        pruned_share=round((figure.pruned or 0) / longest, 4) if longest else 0.0,
    )


def _how_timed(comparison: Comparison, name: str) -> str:
    """How a time was measured, and how far its repeats lay apart."""
    text, paired = f"Measured on {comparison.device}; {comparison.timing}", comparison.paired.get(name)
    if paired is None:
        return text
    first, second = ("original", "pruned") if comparison.against is None else ("the left", "the right")
    ends = f"{first.capitalize()} {figures.spread(paired.original)}, {second} {figures.spread(paired.pruned)}"
    return f"{text} {ends} in {paired.rounds} rounds; in brackets the 95 % interval of the ratio."


def _cards(comparison: Comparison, truth: str | None, sides: Sides, doubts: tuple[str, str]) -> list[Card]:
    runs, cards, ways = (comparison.original, comparison.pruned), [], (comparison.against, comparison)
    chosen = (sides.left, sides.right)
    for run, other, side, way, doubt in zip(runs, runs[::-1], ways, chosen, doubts, strict=True):
        name = way if way in sides.own else side_name(side.method if side is not None else ORIGINAL)
        is_pruned = side is not None and side.method != ORIGINAL
        pieces = pieces_of(run)
        marks = [False] * len(pieces) if comparison.agree else differing(pieces, run.answer, other.answer)
        cards.append(
            Card(
                name=name + ", painted" * is_painted(side),
                percent=figures.percent(side.reduction) if side is not None and is_pruned else None,
                answer=run.answer,
                state="done",
                mark="" if truth is None else "right" if is_right(run.answer, truth) else "wrong",
                pieces=[[piece, "1" if mark else ""] for piece, mark in zip(pieces, marks, strict=True)],
                has_tokens=len(pieces) == len(run.token_ids),
                doubt=doubt,
            )
        )
    return cards


def is_painted(*sides: Pruning | None) -> bool:
    """Whether a visitor told patches of one of these sides to stay or to go."""
    return any(side is not None and side.is_painted for side in sides)


def _percent_of(comparison: Comparison) -> float:
    first = comparison.against
    pruning = first if first is not None and comparison.method == ORIGINAL else comparison
    return figures.percent(pruning.reduction)


def _called(cards: list[Card]) -> list[str]:
    """What sentences call the two sides: as their cards do, with the budget where that alone tells them apart, and by
    their places where nothing does."""
    names = ["the original" if card.percent is None else card.name for card in cards]
    if names[0] == names[1]:
        names = [
            name if card.percent is None else f"{name} {card.percent:g} %"
            for name, card in zip(names, cards, strict=True)
        ]
    return names if names[0] != names[1] else ["the left", "the right"]


def _truth_sentence(cards: list[Card], truth: str | None) -> str:
    if truth is None:
        return ""
    names, (original, pruned) = _called(cards), (card.mark for card in cards)
    who = {
        ("right", "right"): "Both are right",
        ("right", "wrong"): f"Only {names[0]} is right",
        ("wrong", "right"): f"Only {names[1]} is right",
        ("wrong", "wrong"): "Both are wrong",
    }[original, pruned]
    return f"{who}: it is “{truth}”."


def _sentence(comparison: Comparison) -> str:
    """What was gained, in one sentence that does not flatter."""
    total, dropped, first = comparison.layout.num_tokens, comparison.num_dropped, comparison.against
    if not dropped and (first is None or not first.num_dropped):
        return "Nothing was pruned at this budget, so both runs did the same work."
    write = figures.count
    what = f"{write(dropped)} of {write(total)} visual tokens were dropped on the way through the layers"
    the_first = "the first token"
    if first is not None or comparison.method == ORIGINAL:
        on_the_left = first.num_dropped if first else 0
        what = f"{write(on_the_left)} of {write(total)} visual tokens were dropped on the left"
        what += f", {write(dropped)} on the right"
        the_first = "the right's first token"
    painted = next((side for side in (comparison, first) if side is not None and side.is_painted), None)
    if painted is not None:
        what = f"{write(len(painted.stay))} were told to stay and {write(len(painted.go))} to go; {what}"
    paired = comparison.paired.get("prefill")
    if paired is None or paired.verdict == "unknown":
        return f"{what}."
    if not figures.agrees(paired, comparison.original.prefill_ms, comparison.pruned.prefill_ms):
        return f"{what}; the times to the first token were unsteady."
    if paired.verdict == "same":
        return f"{what}; the time to the first token shows {paired.words()}."
    but = f"; {the_first} came" if paired.verdict == "faster" else f", but no time was gained: {the_first} came"
    return f"{what}{but} {paired.words()}."


__all__ = [
    "MEASURED",
    "MEASURING",
    "UNMEASURED",
    "data_uri",
    "done_board",
    "idle_board",
    "is_painted",
    "queued_board",
    "running_board",
    "trace_of",
]
