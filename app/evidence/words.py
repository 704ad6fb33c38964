"""Numbers in words: cells of tables, and the sentences that a section answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.evidence.numbers import Estimate
from fitprune_core.evaluation.significance import SIGNIFICANT, McNemar, Share

NOTHING = "–"
NONE = "no difference beyond chance"


def percent(value: float) -> str:
    """A share as a percentage with one decimal: "84.2 %"."""
    return f"{100 * value:.1f} %"


def budget(value: float) -> str:
    """A budget as people name it: "80 %"."""
    return f"{100 * value:.3g} %"


def share_cell(share: Share | None) -> str:
    """Percent right, and the interval: "84.2 [80.1, 87.5]"."""
    if share is None:
        return NOTHING
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def share_words(share: Share | None) -> str:
    """The same in a sentence: "84.2 % (80.1 to 87.5)"."""
    if share is None:
        return "an unknown share"
    return f"{percent(share.value)} ({100 * share.low:.1f} to {100 * share.high:.1f})"


def estimate_cell(estimate: Estimate | None, digits: int = 2, factor: float = 1.0) -> str:
    """A number, and the interval: "0.71 [0.62, 0.79]"."""
    if estimate is None:
        return NOTHING
    values = [factor * value for value in (estimate.value, estimate.low, estimate.high)]
    first, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{first} [{low}, {high}]"


def p_cell(p: float | None) -> str:
    """A p-value: "< 0.001", "0.031"."""
    return NOTHING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def test_cell(pair: McNemar | None, p: float | None) -> str:
    """A paired test: "+12 −30, p 0.004": won, lost, and the p-value as it counts among all of its table."""
    if pair is None or p is None:
        return NOTHING
    return f"+{pair.won} −{pair.lost}, p {p_cell(p)}"


def verdict(name: str, other: str, pair: McNemar | None, p: float | None) -> str:
    """What a paired test says of two ways to answer: which is better, or that there is nothing beyond chance.

    p: the p-value after correction, where it is one of several. Where it finds nothing, what may still be there is
    said: the difference, in points, and the ends of its interval, which nothing corrects.
    """
    if pair is None or p is None:
        return f"{name} and {other} cannot be compared"
    chance = f"p {'' if p < 0.001 else '= '}{p_cell(p)}"
    if p > SIGNIFICANT:
        said = f"{_to(pair.won, pair.lost)}, {chance}{_points(pair)}"
        return f"between {name} and {other} there is {NONE} ({said})"
    better, worse = (name, other) if pair.won > pair.lost else (other, name)
    more, fewer = max(pair.won, pair.lost), min(pair.won, pair.lost)
    return f"{better} is better than {worse} ({_to(more, fewer)}, {chance})"


def outcomes(tests: Mapping[str, tuple[McNemar | None, float | None]], where: str = "for") -> str:
    """Several paired tests in one sentence, by what each holds against what: which are won, which lost, which neither.

    "better for a (30 questions to 2, p < 0.001); no difference beyond chance for b (12 to 5, p = 0.229; +2.8 points,
    from -0.4 to 6.0)". p: as in `verdict`; where: "for", or "in".
    """
    found: dict[str, list[str]] = {"better": [], "worse": [], NONE: [], "not to be compared": []}
    for what, (pair, p) in tests.items():
        if pair is None or p is None:
            found["not to be compared"].append(what)
            continue
        chance = f"p {'' if p < 0.001 else '= '}{p_cell(p)}"
        if p > SIGNIFICANT:
            found[NONE].append(f"{what} ({_to(pair.won, pair.lost)}, {chance}{_points(pair)})")
        elif pair.won > pair.lost:
            found["better"].append(f"{what} ({_to(pair.won, pair.lost)}, {chance})")
        else:
            found["worse"].append(f"{what} ({_to(pair.lost, pair.won)}, {chance})")
    return "; ".join(f"{how} {where} {listed(which)}" for how, which in found.items() if which)


def _points(pair: McNemar) -> str:
    """ "; +2.4 points, from 0.2 to 4.6"; nothing where it is not known how many were asked."""
    found = pair.difference()
    if found is None:
        return ""
    value, low, high = (100 * each for each in found)
    return f"; {value:+.1f} points, from {low:.1f} to {high:.1f}"


def _to(first: int, second: int) -> str:
    """ "30 questions to 2", "1 question to 0"."""
    return f"{first} question{'' if first == 1 else 's'} to {second}"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; "none" of nothing."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """A text with a capital first letter and a full stop."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
