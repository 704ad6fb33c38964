"""From one token that was looked at to what the page shows of it: next tokens of both sides, and a map by layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from app.asking.asked import Subject
from app.parts.lens import Lens, LensSide, Looks
from fitprune_core.run.looking import Looked, Sight

_LEVELS = 255  # steps of a map, enough for an eye
_WORDS = 60  # characters of the answer so far


def look_at(
    engine: Any, image: Any, subject: Subject, side: int, index: int, should_stop: Callable[[], bool], clicked: bool
) -> Generator[Lens, None, None]:
    """Look at token `index` of an answer, 0 for the left one: one `Lens`, or none where it was stopped."""
    asked = subject.asked
    words = subject.token_ids[side][:index]
    for looked in engine.look(image, asked.question, asked.percent, words, should_stop, **asked.ways()):
        yield lens_of(looked, subject, side, index, clicked)


def lens_of(looked: Looked, subject: Subject, side: int, index: int, clicked: bool) -> Lens:
    """What is shown of a token. clicked: whether somebody asked for it, who wants to see the map at once."""
    pieces, asked = subject.pieces[side], subject.asked
    before = "".join(pieces[:index])
    return Lens(
        side=side,
        index=index,
        token=pieces[index].strip(),
        before=before if len(before) <= _WORDS else "…" + before[-_WORDS:],
        sides=[_side(name, sight) for name, sight in zip(asked.sides.names, looked.sights, strict=True)],
        divergence=round(looked.divergence, 5),
        looks=looks_of(looked.sights[side].attention),
        clicked=clicked,
        number=time.monotonic_ns() if clicked else 0,
    )


def _side(name: str, sight: Sight) -> LensSide:
    likeliest = [[text, f"{share:.6f}"] for text, _, share in sight.likeliest]
    return LensSide(name=name, likeliest=likeliest, margin=round(sight.margin, 5))


def looks_of(attention: np.ndarray) -> Looks:
    """A map of attention, (layers, visual tokens) with NaN for what does not reach a layer, as steps for a browser."""
    levels, most, share = [], [], []
    for row in np.asarray(attention, float):
        is_there = np.isfinite(row)
        largest = float(row[is_there].max()) if is_there.any() else 0.0
        steps = np.where(is_there, np.round(_LEVELS * np.nan_to_num(row) / (largest or 1.0)), -1)
        levels.append(steps.astype(int).tolist())
        most.append(float(f"{largest:.4g}"))
        share.append(float(f"{np.nansum(row):.4g}"))
    return Looks(levels=levels, most=most, share=share)
