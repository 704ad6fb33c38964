"""What the sections reckon with: distances of recipes, rank correlations, how well a number tells what will break."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from fitprune_core import DecoderGeometry, PruningRecipe, visual_reduction
from fitprune_core.evaluation.significance import CONFIDENCE
from fitprune_core.recipes.budget import round_to_budget, saved_share
from fitprune_core.recipes.statistics import AttentionStatistics


@dataclass(frozen=True)
class Estimate:
    """A number, and the interval that holds the true one in `CONFIDENCE` of all cases."""

    value: float
    low: float
    high: float


def auc(positive: Sequence[float], negative: Sequence[float]) -> Estimate | None:
    """How often a number is larger for one of `positive` than for one of `negative`, ties counting half.

    That is Mann and Whitney's U over all pairs (scipy). The interval is Newcombe's (2006, method 5): the values whose
    standard error, by Hanley and McNeil (1982) with both groups taken as large as their mean, the estimate lies no
    further away than a normal deviate allows; it stays inside 0 to 1. None where one group is empty.
    """
    from scipy.optimize import brentq
    from scipy.stats import mannwhitneyu, norm

    if not len(positive) or not len(negative):
        return None
    pairs = len(positive) * len(negative)
    value = float(mannwhitneyu(positive, negative).statistic) / pairs
    z, mean = float(norm.ppf(0.5 + CONFIDENCE / 2)), (len(positive) + len(negative)) / 2

    def excess(true: float) -> float:
        spread = 1 + (mean - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        return abs(true - value) - z * math.sqrt(max(true * (1 - true) * spread / pairs, 0.0))

    # At 0 and 1 themselves nothing spreads, so an estimate there is looked at from just inside.
    inside = min(max(value, 1e-12), 1 - 1e-12)
    low = 0.0 if value == 0.0 else float(brentq(excess, 0.0, inside))
    high = 1.0 if value == 1.0 else float(brentq(excess, inside, 1.0))
    return Estimate(value, low, high)


def auc_within(groups: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Estimate | None:
    """`auc` over the pairs inside of groups, (positive, negative) each: what the groups themselves tell is left out.

    The interval is Wald's, cut at 0 and 1: the groups' variances by Hanley and McNeil (1982) at the pooled value. None
    where no group has both.
    """
    from scipy.stats import mannwhitneyu, norm

    both = [(positive, negative) for positive, negative in groups if len(positive) and len(negative)]
    if not both:
        return None
    pairs = sum(len(positive) * len(negative) for positive, negative in both)
    value = sum(float(mannwhitneyu(*each).statistic) for each in both) / pairs
    after, before = value / (2 - value), 2 * value**2 / (1 + value)
    variance = sum(
        len(positive) * len(negative)
        * (value * (1 - value) + (len(positive) - 1) * (after - value**2) + (len(negative) - 1) * (before - value**2))
        for positive, negative in both
    )  # fmt: skip
    reach = float(norm.ppf(0.5 + CONFIDENCE / 2)) * math.sqrt(max(variance, 0.0)) / pairs
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


@dataclass(frozen=True)
class Correlation(Estimate):
    """A rank correlation, and `p`: how often one as far from 0 comes by chance."""

    p: float


def spearman(one: Sequence[float], other: Sequence[float]) -> Correlation | None:
    """Spearman's rank correlation (scipy); the interval is Bonett and Wright's (2000), by Fisher's transformation.

    None for fewer than four pairs, or where one side is the same throughout.
    """
    from scipy.stats import spearmanr

    if len(one) < 4 or len(set(one)) < 2 or len(set(other)) < 2:
        return None
    found = spearmanr(one, other)
    return _correlation(float(found.statistic), len(one), float(found.pvalue))


def partial_spearman(one: Sequence[float], other: Sequence[float], given: Sequence[float]) -> Correlation | None:
    """Spearman's rank correlation of two with a third held: the partial correlation of their ranks.

    p by Student's t with n - 3 degrees of freedom, the interval as `spearman`'s of one pair fewer. None for fewer than
    five pairs, where one is the same throughout, or where the third alone decides another's order.
    """
    from scipy.stats import rankdata, t

    if len(one) < 5 or any(len(set(each)) < 2 for each in (one, other, given)):
        return None
    of_both, of_one, of_other = np.corrcoef([rankdata(each) for each in (one, other, given)])[[0, 0, 1], [1, 2, 2]]
    left = (1 - of_one**2) * (1 - of_other**2)
    if left < 1e-12:
        return None
    value, degrees = float((of_both - of_one * of_other) / math.sqrt(left)), len(one) - 3
    inside = _inside(value)
    p = 2 * float(t.sf(abs(inside) * math.sqrt(degrees / (1 - inside**2)), degrees))
    return _correlation(value, len(one) - 1, p)


def _inside(correlation: float) -> float:
    """The same, but of equal ranks, where arctanh and t would be infinite, from just inside."""
    return max(-1 + 1e-12, min(1 - 1e-12, correlation))


def _correlation(value: float, pairs: int, p: float) -> Correlation:
    """A rank correlation of so many pairs with Bonett and Wright's interval; of equal ranks it ends at the estimate."""
    from scipy.stats import norm

    value = max(-1.0, min(1.0, value))
    reach = float(norm.ppf(0.5 + CONFIDENCE / 2)) * math.sqrt((1 + value**2 / 2) / (pairs - 3))
    centre = math.atanh(_inside(value))
    return Correlation(value, math.tanh(centre - reach), math.tanh(centre + reach), p)


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean of independent values and its t interval; of one value alone, the value."""
    from scipy.stats import t

    value = float(np.mean(values))
    if len(values) < 2:
        return Estimate(value, value, value)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * error
    return Estimate(value, value - reach, value + reach)


@dataclass(frozen=True)
class Pooled(Estimate):
    """A mean difference with its t interval, and `p`: how often one as far from 0 comes by chance."""

    p: float


def pooled_difference(differences: Sequence[float]) -> Pooled | None:
    """The mean of paired differences, one an independent question, and the p-value of flipping their signs.

    scipy's permutation test with 100,000 draws from a seed, so that it is the same each time. None of fewer than two.
    """
    from scipy.stats import permutation_test

    if len(differences) < 2:
        return None
    told = np.array([each for each in differences if each])
    p = 1.0
    if len(told):
        found = permutation_test(
            (told,), np.sum, permutation_type="samples", vectorized=True, n_resamples=100_000, batch=1000,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        p = float(found.pvalue)
    mean = mean_of(differences)
    return Pooled(mean.value, mean.low, mean.high, p)


def mean_share(values: Sequence[float]) -> Estimate:
    """As `mean_of`, of shares: the interval ends where shares do, at 0 and 1."""
    found = mean_of(values)
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))


def recipe_distance(one: PruningRecipe, other: PruningRecipe) -> float:
    """Share of the tokens that two recipes drop which lie at another layer: 0 for equal ones, 1 for none in common.

    Of recipes that do not drop equally many, the larger number counts; of two that drop nothing the distance is 0.
    Raises ValueError for recipes of other depths or token counts.
    """
    if (one.num_layers, one.num_visual_tokens) != (other.num_layers, other.num_visual_tokens):
        raise ValueError(
            f"recipes of {one.num_layers} layers and {one.num_visual_tokens} tokens, and of {other.num_layers} and "
            f"{other.num_visual_tokens}, have no distance"
        )
    most = max(sum(one.removed), sum(other.removed))
    common = sum(map(min, one.removed, other.removed))
    return 1 - common / most if most else 0.0


def is_nested(smaller: PruningRecipe, larger: PruningRecipe) -> bool:
    """Whether a larger budget has, after every layer, at least as many tokens gone."""
    pairs = zip(accumulate(smaller.removed), accumulate(larger.removed), strict=True)
    return all(few <= many for few, many in pairs)


def even_recipe(fitted: PruningRecipe, geometry: DecoderGeometry, first_layer: int = 0) -> PruningRecipe:
    """As much saved as by `fitted`, by equally many tokens at every layer from `first_layer` on.

    Raises ValueError for a budget that cannot be met so.
    """
    tokens, reduction = fitted.num_visual_tokens, fitted.achieved_reduction
    layers = range(first_layer, geometry.num_layers)
    shape = np.isin(np.arange(geometry.num_layers), layers) * tokens / len(layers)
    if (most := float(saved_share(geometry, shape, tokens))) < reduction:
        raise ValueError(f"reduction is {reduction:.4f}, but equally many at every layer save {most:.4f} at most")
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if saved_share(geometry, middle * shape, tokens) < reduction else (low, middle)
    removed = round_to_budget(geometry, high * shape, tokens, reduction, layers)
    saved = visual_reduction(geometry, removed, tokens)
    return replace(fitted, removed=removed, achieved_reduction=saved, alpha=None, source="equally many at every layer")


def single_layer_recipe(empty: PruningRecipe, geometry: DecoderGeometry, layer: int, share: float) -> PruningRecipe:
    """A share of the tokens dropped at one layer, and none elsewhere."""
    count = round(share * empty.num_visual_tokens)
    removed = tuple(count if each == layer else 0 for each in range(geometry.num_layers))
    saved = visual_reduction(geometry, removed, empty.num_visual_tokens)
    source = f"{count} tokens at layer {layer + 1} alone"
    return replace(empty, removed=removed, reduction=saved, achieved_reduction=saved, alpha=None, source=source)


def stability(statistics: AttentionStatistics) -> list[float]:
    """How much of a layer's order of the visual tokens the layers after it keep: one number for all but the last.

    For each sample, Spearman's correlation of the importance of its tokens at the layer (self- times cross-attention
    received, as FitPrune ranks) with their mean importance in the layers after it, each brought to the sum 1; mean over
    the samples. A sample in which a layer pays the same to all tokens counts as 0.
    """
    importance = statistics.self_attention.astype(np.float64) * statistics.cross_attention
    total = importance.sum(axis=2, keepdims=True)
    importance = np.divide(importance, total, out=np.zeros_like(importance), where=total > 0)
    counts = statistics.token_counts
    found = []
    for layer in range(statistics.geometry.num_layers - 1):
        of_samples = []
        for sample in range(statistics.num_samples):
            tokens = slice(None if counts is None else int(counts[sample]))
            later = importance[sample, layer + 1 :, tokens].mean(axis=0)
            of_samples.append(_rank_correlation(importance[sample, layer, tokens], later))
        found.append(float(np.mean(of_samples)))
    return found


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
