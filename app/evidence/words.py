"""Numbers in words: cells of tables, and the sentences that a section answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.evidence.numbers import Estimate
from fitprune_core.evaluation.significance import SIGNIFICANT, McNemar, Share

NOTHING = "–"
NONE, NOT_COMPARED = "no difference beyond chance", "not to be compared"


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


def percent_of(share: Share | None) -> str:
    """The share alone: "84.2 %"."""
    return "unknown" if share is None else percent(share.value)


def gflops_cell(value: float | None) -> str:
    """FLOPs of a whole request, 1e9: "1.234"."""
    return NOTHING if value is None else f"{value:.3f}"


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
    """A paired test: "−7.2 [−11.9, −2.5], +12 −30, p 0.004".

    The difference in points and its interval, won, lost, and the p-value as it counts among all of its table.
    """
    if pair is None or p is None:
        return NOTHING
    counts = f"+{pair.won} −{pair.lost}, p {p_cell(p)}"
    if (found := pair.difference()) is None:
        return counts
    value, low, high = map(_points_of, found)
    return f"{value:+.1f} [{low:.1f}, {high:.1f}], ".replace("-", "−") + counts


def verdict(name: str, other: str, pair: McNemar | None, p: float | None) -> str:
    """What a paired test says of two ways to answer: which is better, or that there is nothing beyond chance.

    p: the p-value after correction, where it is one of several. The difference is in points; where the test finds
    nothing, what may still be there is said: the ends of its interval, which nothing corrects.
    """
    if pair is None or p is None:
        return f"{name} and {other} cannot be compared"
    if p > SIGNIFICANT:
        return f"between {name} and {other} there is {NONE}{_points(pair, with_interval=True)}"
    better, worse = (name, other) if pair.won > pair.lost else (other, name)
    return f"{better} is better than {worse}{_points(pair, better == other)}"


def outcomes(tests: Mapping[str, tuple[McNemar | None, float | None]], where: str = "for") -> str:
    """Several paired tests in one sentence, by what each holds against what: which are won, which lost, which neither.

    "better for a (+9.1 points); no difference beyond chance for b (+2.8 points)": the tables have intervals, counts and
    p-values. p: as in `verdict`; where: "for", or "than".
    """
    found: dict[str, list[str]] = {"better": [], "worse": [], NONE: [], NOT_COMPARED: []}
    for what, (pair, p) in tests.items():
        found[outcome(pair, p)].append(what if pair is None or p is None else f"{what}{_points(pair)}")
    joined = {NONE: "from" if where == "than" else where, NOT_COMPARED: "with" if where == "than" else where}
    return "; ".join(f"{how} {joined.get(how, where)} {listed(which)}" for how, which in found.items() if which)


def outcome(pair: McNemar | None, p: float | None) -> str:
    """ "better", "worse", "no difference beyond chance" or "not to be compared"; p: as in `verdict`."""
    if pair is None or p is None:
        return NOT_COMPARED
    if p > SIGNIFICANT:
        return NONE
    return "better" if pair.won > pair.lost else "worse"


def tally(found: Sequence[str]) -> str:
    """How many tests had each outcome: "better in 2, no difference beyond chance in 4"."""
    counts = {how: found.count(how) for how in ("better", "worse", NONE, NOT_COMPARED)}
    return ", ".join(f"{how} in {count}" for how, count in counts.items() if count)


def _points(pair: McNemar, is_turned: bool = False, *, with_interval: bool = False) -> str:
    """ " (+2.4 points)", " (+2.4 points, from 0.2 to 4.6)"; nothing where it is not known how many were asked.

    is_turned: whether the other way is spoken of.
    """
    found = pair.difference()
    if found is None:
        return ""
    value, low, high = (_points_of(-each if is_turned else each) for each in found)
    interval = f", from {low:.1f} to {high:.1f}" if with_interval else ""
    return f" ({value:+.1f} points{interval})"


def _points_of(share: float) -> float:
    """In points, to a tenth, and 0 without a sign."""
    return round(100 * share, 1) + 0.0


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; "none" of nothing."""
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """A text with a capital first letter and a full stop."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
