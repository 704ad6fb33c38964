"""What a count of right answers says: a share with its interval, and whether two ways to answer differ at all.

Answers to several questions about one picture are not independent of each other: where pictures repeat, intervals are
wider by the design effect, and a test flips the signs of whole pictures. Where every question has a picture of its own
these are Wilson's interval and McNemar's exact test. Distributions are scipy's, which is loaded at the first call.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
# Differences with a larger p-value are called none.
SIGNIFICANT = 0.05
# So many questions, or pictures, must differ before a paired test can reach that: p is 2^(1-n) at least, of n.
FEWEST_TO_TELL = math.ceil(1 - math.log2(SIGNIFICANT))


@dataclass(frozen=True)
class Share:
    """`right` of `asked`, and the interval that holds the true share in `CONFIDENCE` of all cases."""

    right: int
    asked: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.right / self.asked


def share_of(right: int, asked: int, effect: float = 1.0) -> Share | None:
    """The share of right answers, with its Wilson interval (1927); None where nothing was asked.

    effect: the design effect, by which answers that depend on each other are worth fewer.
    """
    if not asked:
        return None
    from scipy.stats import norm

    value, worth = right / asked, float(norm.ppf(0.5 + CONFIDENCE / 2)) ** 2 * effect / asked
    centre, reach = value + worth / 2, math.sqrt(worth * (value * (1 - value) + worth / 4))
    low, high = (max(0.0, min(1.0, end / (1 + worth))) for end in (centre - reach, centre + reach))
    return Share(right, asked, 0.0 if right == 0 else low, 1.0 if right == asked else high)


def share_by_picture(right: Sequence[bool], pictures: Sequence[Hashable]) -> Share | None:
    """`share_of` answers of which those about one picture depend on each other; pictures: that of each.

    The design effect (Kish, 1965) is the variance of the share between pictures over that of as many independent
    answers, 1 at least. Where all are right, or none, it is the mean number of answers about a picture: as if each
    picture told once.
    """
    of_picture = _numbered(pictures)
    return share_of_groups(np.bincount(of_picture, np.asarray(right, dtype=np.float64)), np.bincount(of_picture))


def share_of_groups(right: Sequence[float] | np.ndarray, asked: Sequence[int] | np.ndarray) -> Share | None:
    """`share_by_picture` by how many answers about each picture are right, of how many."""
    right, counts = np.asarray(right, dtype=np.float64), np.asarray(asked)
    total, known = int(counts.sum()), len(counts)
    effect = 1.0
    if 1 < known < total:
        value = float(right.sum()) / total
        apart = right - value * counts
        between, alone = known / (known - 1) * float(apart @ apart) / total**2, value * (1 - value) / total
        effect = max(1.0, between / alone) if alone else total / known
    return share_of(int(right.sum()), total, effect)


@dataclass(frozen=True)
class McNemar:
    """Two ways to answer the same questions: `lost` are right in the first alone, `won` in the second alone.

    p: of McNemar's exact test (1947), two-sided: how often a difference at least as large comes by chance. asked: how
    many questions there were; 0 where nobody said. pictures: how many they were about, if fewer: the test is then by
    picture, see `paired`. error: the standard error of `difference`, as if half a question, or picture, more had come
    out in each of the four ways (Agresti and Min, 2005), so that where none differs it is not 0. apart: how many
    pictures the two ways differ about, where the test is by picture.
    """

    lost: int
    won: int
    p: float
    asked: int = 0
    pictures: int = 0
    error: float = 0.0
    apart: int = 0

    @property
    def differing(self) -> int:
        """Of how many signs the test is made: the questions that one way alone got right, or the pictures."""
        return self.apart if self.pictures else self.lost + self.won

    @property
    def can_tell(self) -> bool:
        """Whether the p-value could have become small enough, had all that differs been for one side."""
        return self.differing >= FEWEST_TO_TELL

    def difference(self) -> tuple[float, float, float] | None:
        """How much larger the second's share of right answers is, and the ends of its t interval over the questions,
        or over their pictures.

        None where nobody said how many were asked, or there was one alone.
        """
        independent = self.pictures or self.asked
        if independent < 2:
            return None
        from scipy.stats import t

        value = (self.won - self.lost) / self.asked
        reach = float(t.ppf(0.5 + CONFIDENCE / 2, independent - 1)) * self.error
        return value, value - reach, value + reach

    @property
    def in_words(self) -> str:
        """ "lost 61, won 19, McNemar p < 0.001", and that there is no difference where there is none to speak of.

        Where too few differ a p-value would say nothing: "lost 4, won 0, too few differ to tell (4; 6 are needed)".
        """
        counts = f"lost {self.lost}, won {self.won}"
        if not self.can_tell:
            what = "too few pictures differ" if self.pictures else "too few differ"
            return f"{counts}, {what} to tell ({self.differing}; {FEWEST_TO_TELL} are needed)"
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}" if self.p < 0.1 else f"p = {self.p:.2f}"
        none = ", no difference beyond chance" if self.p > SIGNIFICANT else ""
        test = f"{p} by picture" if self.pictures else f"McNemar {p}"
        return f"{counts}, {test}{none}"


def mcnemar(lost: int, won: int, asked: int = 0) -> McNemar:
    """McNemar's exact test of the questions that one of two ways alone got right, of so many in all."""
    from scipy.stats import binomtest

    p = float(binomtest(lost, lost + won, 0.5).pvalue) if lost + won else 1.0
    error = 0.0
    if asked > 1:
        error = math.sqrt((won + lost + 1 - (won - lost) ** 2 / (asked + 2)) / (asked + 1) / (asked + 2))
    return McNemar(lost, won, p, asked, error=error)


def paired(first: Sequence[bool], second: Sequence[bool], pictures: Sequence[Hashable]) -> McNemar:
    """Two ways against each other, right or not in each question; pictures: what each question is about.

    By picture where pictures repeat: if the two ways do not differ, what one of them wins about a picture in all is as
    likely to be lost, so the p-value is the share of all ways to flip these signs that end as far from 0. Of one
    question a picture, that is McNemar's test.
    """
    won = sum(mine and not theirs for theirs, mine in zip(first, second, strict=True))
    lost = sum(theirs and not mine for theirs, mine in zip(first, second, strict=True))
    of_picture = _numbered(pictures)
    counts = np.bincount(of_picture)
    asked, known = len(of_picture), len(counts)
    if known == asked:
        return mcnemar(lost, won, asked)
    net = np.bincount(of_picture, np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64))
    mean = asked / known
    # Two pictures more, of as many questions as the others have on average: see `McNemar.error`.
    counts, net_of = np.append(counts, [mean, mean]), np.append(net, [mean * math.sqrt(0.5), -mean * math.sqrt(0.5)])
    apart = net_of - counts * (won - lost) / counts.sum()
    error = math.sqrt((known + 2) / (known + 1) * float(apart @ apart)) / float(counts.sum())
    whole = np.rint(net).astype(np.int64)
    return McNemar(lost, won, _sign_flip_p(whole), asked, known, error, int(np.count_nonzero(whole)))


def _sign_flip_p(net: np.ndarray) -> float:
    """The share of all choices of signs of these whole numbers whose sum is as far from 0 as theirs.

    Exact but for rounding: scipy's permutation test would draw some of the choices. The sum's distribution is the
    Fourier transform of its characteristic function, a product of cosines.
    """
    sizes, counts = np.unique(np.abs(net), return_counts=True)
    largest = int(sizes @ counts)
    sums = np.arange(-largest, largest + 1)
    angles = 2 * np.pi * np.arange(len(sums)) / len(sums)
    characteristic = np.ones(len(sums))
    for size, count in zip(sizes, counts, strict=True):
        characteristic *= np.cos(size * angles) ** count
    shares = np.fft.fft(characteristic).real[sums] / len(sums)
    return float(np.clip(shares[np.abs(sums) >= abs(int(net.sum()))].sum(), 0.0, 1.0))


def _numbered(pictures: Sequence[Hashable]) -> np.ndarray:
    """Each picture's number, from 0 in the order they come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in pictures], dtype=np.int64)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests, each as it counts among all of them (Holm, 1979), in the order they came.

    Of m tests the smallest p-value is multiplied by m, the next by m - 1 and so on; none becomes smaller than one
    before it, or larger than 1. What stays at or below a level is found at that level with the risk of a single false
    find among all bounded by it. scipy has only corrections of the rate of false finds. Raises ValueError for what is
    no p-value.
    """
    if wrong := [p for p in p_values if not 0.0 <= p <= 1.0]:
        raise ValueError(f"a p-value is a number from 0 to 1, not {wrong[0]}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = largest
    return adjusted
