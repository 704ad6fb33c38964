"""Which words of two answers differ, told of the pieces that an answer is put together from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from fitprune_core import Run, normalised


def pieces_of(run: Run) -> list[str]:
    """What an answer is put together from: the text of each token, or its words where tokens do not spell it."""
    if run.pieces and "".join(run.pieces) == run.answer:
        return list(run.pieces)
    return re.findall(r"\s*\S+", run.answer)


def differing(pieces: Sequence[str], answer: str, other: str) -> list[bool]:
    """For each piece of an answer whether it is part of a word that the other answer does not have in its place.

    Words are compared as answers are (`normalised`): upper case and final punctuation make no difference.
    """
    words = list(re.finditer(r"\S+", answer))
    ours, theirs = [normalised(word[0]) for word in words], [normalised(word) for word in other.split()]
    steps = SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    apart = {at for kind, start, end, _, _ in steps if kind != "equal" for at in range(start, end)}
    spans = [words[at].span() for at in sorted(apart)]
    found, at = [], 0
    for piece in pieces:
        begin, at = at + len(piece) - len(piece.lstrip()), at + len(piece)
        found.append(any(start < at and begin < end for start, end in spans))
    return found
