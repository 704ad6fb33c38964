"""What a count of right answers says: a share with its interval, and whether two ways to answer differ at all.

Intervals and tests are scipy's, which is loaded at the first call.
"""

from __future__ import annotations

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
class Paired:
    """Two ways to answer the same questions: `lost` are right in the first alone, `won` in the second alone.

    p: of McNemar's exact test (1947), two-sided: how often a difference at least as large comes by chance.
    """

    lost: int
    won: int
    p: float

    @property
    def in_words(self) -> str:
        """ "lost 61, won 19, McNemar p < 0.001", and that there is no difference where there is none to speak of."""
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}" if self.p < 0.1 else f"p = {self.p:.2f}"
        none = ", no difference beyond chance" if self.p > SIGNIFICANT else ""
        return f"lost {self.lost}, won {self.won}, McNemar {p}{none}"


def paired(lost: int, won: int) -> Paired:
    """McNemar's exact test of the questions that one of two ways alone got right."""
    if not lost + won:
        return Paired(0, 0, 1.0)
    from scipy.stats import binomtest

    return Paired(lost, won, float(binomtest(lost, lost + won, 0.5).pvalue))
