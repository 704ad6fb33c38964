"""What a count of right answers says: a share with its interval, and whether two ways to answer differ at all.

Intervals and tests are scipy's, which is loaded at the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
# Differences with a larger p-value are called none.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Share:
    """`right` of `asked`, and the interval that holds the true share in `CONFIDENCE` of all cases (Wilson, 1927)."""

    right: int
    asked: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.right / self.asked


def share_of(right: int, asked: int) -> Share | None:
    """The share of right answers, with its Wilson interval; None where nothing was asked."""
    if not asked:
        return None
    from scipy.stats import binomtest

    interval = binomtest(right, asked).proportion_ci(CONFIDENCE, method="wilson")
    return Share(right, asked, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class McNemar:
    """Two ways to answer the same questions: `lost` are right in the first alone, `won` in the second alone.

    p: of McNemar's exact test (1947), two-sided: how often a difference at least as large comes by chance. asked: how
    many questions there were; 0 where nobody said.
    """

    lost: int
    won: int
    p: float
    asked: int = 0

    def difference(self) -> tuple[float, float, float] | None:
        """How much larger the second's share of right answers is, and the ends of its t interval over the questions.

        None where nobody said how many were asked, or there was one alone.
        """
        if self.asked < 2:
            return None
        from scipy.stats import t

        value = (self.won - self.lost) / self.asked
        variance = (self.won + self.lost - self.asked * value**2) / (self.asked - 1)
        reach = float(t.ppf(0.5 + CONFIDENCE / 2, self.asked - 1)) * (variance / self.asked) ** 0.5
        return value, value - reach, value + reach

    @property
    def in_words(self) -> str:
        """ "lost 61, won 19, McNemar p < 0.001", and that there is no difference where there is none to speak of."""
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}" if self.p < 0.1 else f"p = {self.p:.2f}"
        none = ", no difference beyond chance" if self.p > SIGNIFICANT else ""
        return f"lost {self.lost}, won {self.won}, McNemar {p}{none}"


def mcnemar(lost: int, won: int, asked: int = 0) -> McNemar:
    """McNemar's exact test of the questions that one of two ways alone got right, of so many in all."""
    if not lost + won:
        return McNemar(0, 0, 1.0, asked)
    from scipy.stats import binomtest

    return McNemar(lost, won, float(binomtest(lost, lost + won, 0.5).pvalue), asked)


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
