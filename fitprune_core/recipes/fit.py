"""Fit a recipe: the smallest loss of attention, the same bound at every layer, that meets a FLOPs budget.

The rule is the paper's (arXiv 2409.10197, section 3; `statistical_analysis.py` of github.com/ywh187/FitPrune). Given
one number alpha, walk the layers. At each, order the visual tokens that are left by the attention that they receive,
and take the longest run from the bottom after which at least (1 - alpha) of the layer's attention remains. Do this for
self-attention and for cross-attention; the tokens in both runs go. A larger alpha removes more, so the smallest one
that meets the budget is found by bisection.

Samples may have different numbers of visual tokens: each removes a share of its own, and the budget is that of all
samples together (`token_groups`).

Here the attention is that of the unpruned model. In a model that has lost tokens, every softmax spreads what they would
have received over what is left, text included; the fit scales the stored attention accordingly, see `lowest_runs.py`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from fitprune_core.checks.numbers import whole
from fitprune_core.checks.words import plural, shown
from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.recipes.budget import (
    TOLERANCE,
    check_reachable,
    gathered,
    round_to_budget,
    saved_share,
    trim_to_budget,
)
from fitprune_core.recipes.lowest_runs import TokenOrder, Walked, walk
from fitprune_core.recipes.recipe import PruningRecipe, check_attention, check_share
from fitprune_core.recipes.statistics import AttentionStatistics
from fitprune_core.recipes.token_groups import TokenGroups, check_token_counts

# Alpha is looked for on a grid ten times finer than the authors' tolerance of 0.01.
ALPHA_STEPS = 1024
# A layer scores all of its tokens to drop a few: that costs as much as this share of them, for one layer.
LEAST_DROP_COST = 0.02
# In narrow layers the small kernels of a drop (scores, choice, taking out) cost more than that: a third of a
# millisecond of a CPU, in which it does some 2.5 * 10**7 multiply-adds. No drop is taken to cost more than this share
# of the tokens, for one layer.
DROP_MULTIPLY_ADDS = 25 * 10**6
LARGEST_DROP_COST = 1 / 3


def fit_recipe(
    statistics: Any,
    reduction: float,
    *,
    attention: str = "both",
    max_drop_layers: int | None = None,
    first_drop_layer: int | None = None,
    gather: bool = True,
) -> PruningRecipe:
    """Fit a recipe from stored statistics, without the model.

    The first fit sorts the statistics, which for those of the paper's size (655 samples of LLaVA-1.5-7B) takes most of
    a second of one core, and cores share it; another budget takes half of that.

    Args:
        statistics: an `AttentionStatistics`, or any object with `self_attention` and `cross_attention` of shape
            (num_samples, num_layers, num_visual_tokens), `geometry`, `model` and `num_samples`; if it has `self_share`
            and `cross_share`, (num_samples, num_layers), they tell how attention is spread anew, else none is; if it
            has `token_counts`, (num_samples,), these are the visual tokens of each sample, the rest of the arrays is 0,
            and the recipe is for the largest count.
        reduction: share of visual compute to save, 0 <= reduction < 1, as `cost.decoder.visual_reduction` counts it.
            The recipe meets it within 0.05 percentage points where whole tokens allow that.
        attention: "both" removes what is low in self- and in cross-attention, "self" and "cross" look at one alone.
        max_drop_layers: the most layers that may drop tokens, or None for any number. Every layer that drops has to
            score its tokens; where layers are narrow, fewer of them cost less time, at a larger alpha.
        first_drop_layer: the first layer (from 0) that may drop tokens. In a model whose first layers do not look at
            what is in the picture yet, what they would drop says nothing about it; sparing them costs larger drops
            later, and puts the largest budgets out of reach. None is 0, or what the statistics' `provenance` says of
            models whose first layers may not drop; less than that is refused.
        gather: merge small drops into fewer layers, since each dropping layer has a fixed cost (`drop_cost`); see
            `budget.gathered`. Without, every layer drops what its bound allows, however little: the paper's rule alone
            (section 3.3).

    An `AttentionStatistics` is sorted once, for as long as the object lives; other objects, whose arrays may change,
    are sorted for every fit. Raises ValueError for a reduction, attention or number of layers that
    cannot be, and for statistics that are broken.
    """
    return fitter_for(statistics).fit(
        reduction,
        attention=attention,
        max_drop_layers=max_drop_layers,
        first_drop_layer=first_drop_layer,
        gather=gather,
    )


def drop_cost(geometry: DecoderGeometry, num_visual_tokens: int) -> float:
    """The fixed cost of a layer that drops, counted in visual tokens that a layer could compute with instead.

    It is 2 % of the picture's tokens, or as many as take `DROP_MULTIPLY_ADDS` in a layer if those are more, but a third
    at most. They are more only in decoders a few hundred numbers wide, such as mini-llava's.
    """
    small_kernels = DROP_MULTIPLY_ADDS / (geometry.before_drop(1) + geometry.after_drop(1))
    return min(max(LEAST_DROP_COST * num_visual_tokens, small_kernels), LARGEST_DROP_COST * num_visual_tokens)


def fitter_for(statistics: Any) -> Fitter:
    """The `Fitter` of a statistics object: of an `AttentionStatistics` always the same one, since it cannot change."""
    if not isinstance(statistics, AttentionStatistics):
        return Fitter(statistics)
    if statistics not in _FITTERS:
        _FITTERS[statistics] = Fitter(statistics)
    return _FITTERS[statistics]


_FITTERS: weakref.WeakKeyDictionary[AttentionStatistics, Fitter] = weakref.WeakKeyDictionary()


class Fitter:
    """Fits any number of recipes from one set of statistics; sorts once and remembers every alpha that it has tried.

    Reads `statistics` as `fit_recipe` does and keeps no reference to the object itself.
    """

    def __init__(self, statistics: Any) -> None:
        if not hasattr(statistics, "self_attention"):
            words = "give an AttentionStatistics; AttentionStatistics.load(path) reads a file"
            raise ValueError(f"statistics is {shown(statistics)}; {words}")
        attention = {name: np.asarray(getattr(statistics, f"{name}_attention")) for name in ("self", "cross")}
        for name, values in attention.items():
            _check_values(name, values, statistics.geometry.num_layers)
        if attention["self"].shape != attention["cross"].shape:
            shapes = f"{attention['self'].shape} and {attention['cross'].shape}"
            raise ValueError(f"self- and cross-attention must have one shape, not {shapes}")
        provenance = getattr(statistics, "provenance", None) or {}
        where, self._image_aspect = provenance.get("source"), provenance.get("image_aspect")
        self._least_first_layer = _own_first_layer(provenance, statistics.model, statistics.geometry.num_layers)
        count = len(attention["self"])
        self._source = f"attention statistics of {count} {plural('sample', count)}" + (f" ({where})" if where else "")
        self.geometry = statistics.geometry
        self.model = statistics.model
        self.num_samples, self.num_layers, self.num_visual_tokens = attention["self"].shape
        self._token_counts = check_token_counts(
            getattr(statistics, "token_counts", None), self.num_samples, self.num_visual_tokens
        )
        self._groups = TokenGroups(self._token_counts, self.geometry)
        self._attention = {name: values.astype(np.float32, copy=False) for name, values in attention.items()}
        self._shares = {name: self._share_of(statistics, name) for name in attention}
        self._rankings: dict[str, TokenOrder] = {}
        self._walks: dict[tuple[str, int, tuple[int, ...]], Walked] = {}

    def fit(
        self,
        reduction: float,
        *,
        attention: str = "both",
        max_drop_layers: int | None = None,
        first_drop_layer: int | None = None,
        gather: bool = True,
    ) -> PruningRecipe:
        """The recipe that saves `reduction`, 0 <= reduction < 1. See `fit_recipe`."""
        reduction = check_share("reduction", reduction)
        check_attention(attention)
        tokens = self.num_visual_tokens
        check_reachable(self.geometry, tokens, reduction)
        first_drop_layer = self._first_layer(first_drop_layer)
        layers = tuple(range(first_drop_layer, self.num_layers))
        if max_drop_layers is not None:
            whole("max_drop_layers", max_drop_layers, 1)
            layers = self._busiest_layers(reduction, attention, layers, max_drop_layers)
        alpha, removed = 0.0, (0,) * self.num_layers
        if reduction > 0.0:
            step, wanted = self._wanted(reduction, attention, layers)
            alpha = step / ALPHA_STEPS
            rounded = self._gathered if gather else self._rounded
            removed = rounded(wanted, reduction, layers)
        return PruningRecipe(
            model=self.model,
            num_layers=self.num_layers,
            num_visual_tokens=tokens,
            reduction=reduction,
            achieved_reduction=visual_reduction(self.geometry, removed, tokens),
            removed=removed,
            alpha=alpha,
            num_samples=self.num_samples,
            procedure="statistics",
            attention=attention,
            source=f"fitted from {self._source}"
            + (f"; drops from layer {layers[0] + 1} on, counted from 1" if first_drop_layer else "")
            + ("" if gather else "; small drops are not gathered"),
            image_aspect=self._image_aspect,
        )

    def _rounded(self, wanted: np.ndarray, reduction: float, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Whole counts that meet the budget. wanted: (num_layers,)."""
        return round_to_budget(self.geometry, wanted, self.num_visual_tokens, reduction, layers)

    def _gathered(self, wanted: np.ndarray, reduction: float, layers: tuple[int, ...]) -> tuple[int, ...]:
        """As `_rounded`, at fewer layers if they can meet the budget as well."""
        geometry, tokens = self.geometry, self.num_visual_tokens
        lowest = LEAST_DROP_COST * tokens
        # Where layers are so few that whole tokens miss the budget, more of them are let drop.
        halves = (drop_cost(geometry, tokens) / 2**times for times in range(8))
        for cost in dict.fromkeys(max(half, lowest) for half in halves):
            together = gathered(wanted, cost, tokens)
            dropping = [int(layer) for layer in np.flatnonzero(together)]
            few = round_to_budget(geometry, together, tokens, reduction, dropping)
            if abs(visual_reduction(geometry, few, tokens) - reduction) <= TOLERANCE:
                return few
        return self._rounded(wanted, reduction, layers)

    def smallest_step(self, reduction: float, attention: str, layers: tuple[int, ...] | None = None) -> int:
        """The smallest step, alpha = step / ALPHA_STEPS, at which the mean removal saves at least `reduction`.

        layers: those that may drop, or None for all. Where no alpha saves enough, the last step is returned.
        """
        fails, meets = -1, ALPHA_STEPS
        while meets - fails > 1:
            step = (fails + meets) // 2
            removed = self._removed(step, attention, layers, reduction)
            fails, meets = (fails, step) if self._groups.saved(removed) >= reduction else (step, meets)
        return meets

    def mean_removed(self, step: int, attention: str, layers: tuple[int, ...] | None = None) -> np.ndarray:
        """Tokens removed at each layer, mean over the samples, at alpha = step / ALPHA_STEPS: (num_layers,) float64.

        Samples with fewer tokens count by shares of theirs. layers: those that may drop, or None for all.
        """
        return self._groups.mean_removed(self._removed(step, attention, layers))

    def _removed(self, step: int, attention: str, layers: tuple[int, ...] | None, reduction: float = 1.0) -> np.ndarray:
        """Tokens removed at each layer, summed over the samples of each token count: (groups, num_layers) float64.

        Layers after the one where `reduction` is met may be left out: a walk that is over serves every budget, one that
        stopped serves those that it meets.
        """
        layers = tuple(range(self.num_layers)) if layers is None else layers
        key = (attention, step, layers)
        known = self._walks.get(key)
        if known is None or not (known.is_over or self._meets(known.removed, reduction)):
            known = self._walks[key] = walk(
                self._ranking(attention), step / ALPHA_STEPS, layers, self._groups,
                lambda removed: self._meets(removed, reduction),
            )  # fmt: skip
        return known.removed

    def _ranking(self, attention: str) -> TokenOrder:
        if attention not in self._rankings:
            kinds = ("self", "cross") if attention == "both" else (attention,)
            self._rankings[attention] = TokenOrder(
                [self._attention[kind] for kind in kinds], [self._shares[kind] for kind in kinds], self._token_counts
            )
        return self._rankings[attention]

    def _meets(self, removed: np.ndarray, reduction: float) -> bool:
        """Whether counts, as of `_removed`, save `reduction` over all samples, and their mean in the largest one."""
        mean = self._groups.mean_removed(removed)
        return reduction < 1 and bool(
            self._groups.saved(removed) >= reduction
            and saved_share(self.geometry, mean, self.num_visual_tokens) >= reduction
        )

    def _wanted(self, reduction: float, attention: str, layers: tuple[int, ...]) -> tuple[int, np.ndarray]:
        """The smallest step that meets a budget, and the mean counts there, stopped where it is met."""
        step = self.smallest_step(reduction, attention, layers)
        removed = self._removed(step, attention, layers, reduction)
        saved = self._groups.saved(removed)
        if saved < reduction:
            words = f"{len(layers)} layers, the first of them layer {layers[0] + 1} (counted from 1),"
            raise ValueError(f"reduction is {reduction:g}, but dropping at {words} saves {saved:.4f} at most")
        mean = self._groups.mean_removed(removed)
        return step, trim_to_budget(self.geometry, mean, self.num_visual_tokens, reduction)

    def _first_layer(self, asked: int | None) -> int:
        """The first layer that may drop: as asked, or the first that the model allows."""
        if asked is None:
            return self._least_first_layer
        first = whole("first_drop_layer", asked, 0, self.num_layers - 1)
        if first < self._least_first_layer:
            raise ValueError(
                f"first_drop_layer is {first} (counted from 0), but the first {self._least_first_layer} layers of "
                f"{self.model} add features of the picture to its visual tokens and may not drop any; the least is "
                f"{self._least_first_layer}, which is layer {self._least_first_layer + 1} counted from 1"
            )
        return first

    def _busiest_layers(self, reduction: float, attention: str, layers: tuple[int, ...], count: int) -> tuple[int, ...]:
        """The `count` layers that remove most when all of `layers` may, ascending."""
        _, wanted = self._wanted(reduction, attention, layers)
        return tuple(sorted(sorted(layers, key=lambda layer: -wanted[layer])[:count]))

    def _share_of(self, statistics: Any, name: str) -> np.ndarray:
        shape = (self.num_samples, self.num_layers)
        share = getattr(statistics, f"{name}_share", None)
        share = np.zeros(shape) if share is None else np.asarray(share)
        if share.shape != shape:
            raise ValueError(f"{name}_share must be (samples, layers), here {shape}, not {share.shape}")
        return share


def _own_first_layer(provenance: Mapping[str, str], model: str, num_layers: int) -> int:
    """What statistics say of the first layer that may drop, 0 where they say nothing."""
    said = provenance.get("first_drop_layer", "0")
    try:
        return whole("first_drop_layer", int(said), 0, num_layers - 1)
    except ValueError as error:
        raise ValueError(
            f"the statistics of {model} say that first_drop_layer is {shown(said)}; it must be a whole number "
            f"from 0 to {num_layers - 1}"
        ) from error


def _check_values(name: str, values: np.ndarray, num_layers: int) -> None:
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"{name}_attention must be (samples, layers, visual tokens), none of them 0: {values.shape}")
    if values.shape[1] != num_layers:
        raise ValueError(f"{name}_attention has {values.shape[1]} layers, but its model has {num_layers}")
    # One pass for the usual case; NaN fails the comparison as well.
    if not (values.min() >= 0 and values.max() < np.inf):
        sample, layer, token = np.argwhere(~((values >= 0) & (values < np.inf)))[0]
        value = values[sample, layer, token]
        raise ValueError(f"{name}_attention of sample {sample}, layer {layer}, token {token} is {value}, not attention")
