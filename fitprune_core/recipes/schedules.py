"""How many visual tokens go where, at a budget, for methods that do not take FitPrune's recipe.

Every schedule has one free number (how many go, what share stays), which is solved for, so that all of them can be
compared at equal FLOPs; then its counts are rounded to whole tokens as a recipe's are (`budget.round_drops`). Where
that needs it, single tokens go at another layer than the schedule's own, never at one before its first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fitprune_core.checks.words import shown
from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.recipes.budget import round_drops, saved_share
from fitprune_core.recipes.recipe import PruningRecipe

SCHEDULES = ("recipe", "one-shot", "staircase", "before", "withdrawal")

# What the papers use: FastV prunes after layer 2, PyramidDrop divides the decoder into four stages.
ONE_SHOT_LAYER = 2
STAGES = 4
# A staircase whose first step takes more than this is hardly one: where that would be, it gets more stages.
LARGEST_STEP = 0.75
# Half way to the layer where all leave no more than this share does: more would leave too few to look at there.
LARGEST_STEP_HALF_WAY = 0.5

# From a share, 0 (nothing goes) to 1 (all that can go does), to the tokens that go at each site, (1 + num_layers,):
# site 0 is before the decoder, site l after l layers.
_Shape = Callable[[float], np.ndarray]


@dataclass(frozen=True)
class Drops:
    """Visual tokens that go before the decoder, and at each of its layers, for a picture of so many."""

    before: int
    removed: tuple[int, ...]

    def __bool__(self) -> bool:
        """Whether anything goes."""
        return self.before > 0 or any(self.removed)


def drops_by(schedule: str, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
    """What goes where for a picture of so many visual tokens, saving what the recipe would save for it.

    schedule: as `check_schedule` takes it. Raises ValueError for a budget that the schedule cannot meet.
    """
    name, number = check_schedule(schedule)
    if name == "recipe":
        return Drops(0, recipe.scaled_to(num_visual_tokens).removed)
    reduction = budget_of(recipe, geometry, num_visual_tokens)
    if name == "before":
        return before_decoder(geometry, num_visual_tokens, reduction)
    solve = {"one-shot": one_shot, "staircase": staircase, "withdrawal": withdrawal}[name]
    return solve(geometry, num_visual_tokens, reduction, number)


def budget_of(recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> float:
    """The share of visual compute that a recipe saves for a picture of so many visual tokens."""
    return visual_reduction(geometry, recipe.scaled_to(num_visual_tokens).removed, num_visual_tokens)


def check_schedule(schedule: str) -> tuple[str, int | None]:
    """A schedule's name and its number: "one-shot@3" drops after layer 3, "staircase@8" has 8 stages, and by
    "withdrawal@9" all leave after layer 9.

    Raises ValueError for what is no schedule.
    """
    name, at, number = str(schedule).partition("@")
    takes_number = name in ("one-shot", "staircase", "withdrawal")
    if name not in SCHEDULES or (at and not (takes_number and number.isdecimal() and len(number) < 5)):
        raise ValueError(
            f"schedule is {shown(schedule)}; choose one of {', '.join(SCHEDULES)}, one-shot@LAYER, staircase@STAGES or "
            "withdrawal@LAYER"
        )
    return name, int(number) if at else None


@lru_cache(maxsize=256)  # a prompt asks anew, and most have equally many tokens
def one_shot(geometry: DecoderGeometry, num_visual_tokens: int, reduction: float, layer: int | None = None) -> Drops:
    """FastV's schedule (arXiv 2403.06764): all tokens go through `layer` layers, and what stays then stays for good.

    How many stay is solved for. layer: None for 2, as in the paper, or for 1 where 2 cannot save `reduction`. Raises
    ValueError for a layer that there is not, and a budget that cannot be met after it.
    """
    layers = geometry.num_layers
    _check_layer(layer, layers)
    tried = [min(ONE_SHOT_LAYER, layers), 1] if layer is None else [layer]

    def shape(site: int) -> _Shape:
        only = np.arange(1 + layers) == site
        return lambda share: only * share * num_visual_tokens

    shapes = ((f"after layer {site}", shape(site)) for site in tried)
    return _solved(geometry, num_visual_tokens, reduction, shapes)


@lru_cache(maxsize=256)
def staircase(geometry: DecoderGeometry, num_visual_tokens: int, reduction: float, stages: int | None = None) -> Drops:
    """PyramidDrop's schedule (arXiv 2410.17247): equal stages of layers, each but the last passing on a fixed share.

    The share is solved for. stages: None for 4, as in the paper, or as many more as it takes for every stage to pass on
    a quarter or more of its tokens. Raises ValueError for a number of stages that cannot be, and a budget that cannot
    be met with it.
    """
    layers = geometry.num_layers
    if stages is not None and not 2 <= stages <= layers:
        raise ValueError(f"stages is {stages}; a decoder of {layers} layers can have 2 to {layers}")
    if stages is None:
        tried = [(number, LARGEST_STEP) for number in range(min(STAGES, layers), layers + 1)] + [(layers, 1.0)]
    else:
        tried = [(stages, 1.0)]

    def shape(number: int, largest: float) -> _Shape:
        ends = [layers * stage // number for stage in range(1, number)]

        def wanted(share: float) -> np.ndarray:
            counts, left = np.zeros(1 + layers), float(num_visual_tokens)
            for end in ends:
                counts[end], left = left * share * largest, left * (1.0 - share * largest)
            return counts

        return wanted

    shapes = ((f"in {number} stages", shape(number, largest)) for number, largest in tried)
    return _solved(geometry, num_visual_tokens, reduction, shapes)


@lru_cache(maxsize=256)
def before_decoder(geometry: DecoderGeometry, num_visual_tokens: int, reduction: float) -> Drops:
    """All that the budget wants gone goes before the first layer."""
    only = np.arange(1 + geometry.num_layers) == 0
    shapes = [("before the decoder", lambda share: only * share * num_visual_tokens)]
    return _solved(geometry, num_visual_tokens, reduction, shapes)


@lru_cache(maxsize=256)
def withdrawal(geometry: DecoderGeometry, num_visual_tokens: int, reduction: float, layer: int | None = None) -> Drops:
    """No visual token goes deeper than `layer` layers, as in VTW (arXiv 2405.05803), and fewer and fewer get there.

    If withdrawal alone saves too little, a share s never enters, and min(s, 1/2) of the rest leaves halfway; s is
    solved for. If it saves too much, as many go deeper as the budget allows.

    layer: None for half of the decoder, where VTW withdraws them from LLaVA-1.5. Raises ValueError for a layer that
    there is not.
    """
    layers = geometry.num_layers
    _check_layer(layer, layers)
    last = max(layers // 2, 1) if layer is None else layer

    def wanted(share: float) -> np.ndarray:
        counts, earlier = np.zeros(1 + layers), max(2.0 * share - 1.0, 0.0)
        counts[0] = num_visual_tokens * earlier
        entering = num_visual_tokens - counts[0]
        if half_way := last // 2:
            counts[half_way] = entering * min(earlier, LARGEST_STEP_HALF_WAY)
        counts[last] = (entering - counts[half_way] if half_way else entering) * min(2.0 * share, 1.0)
        return counts

    return _solved(geometry, num_visual_tokens, reduction, [(f"before layer {last} and after it", wanted)])


def _check_layer(layer: int | None, layers: int) -> None:
    if layer is not None and not 1 <= layer <= layers:
        raise ValueError(f"layer is {layer}; a decoder of {layers} layers can drop after layer 1 to {layers}")


def _solved(
    geometry: DecoderGeometry, num_visual_tokens: int, reduction: float, shapes: Iterable[tuple[str, _Shape]]
) -> Drops:
    """The first shape that can save `reduction`, at the share at which it does, in whole tokens."""

    if reduction <= 0.0:
        return Drops(0, (0,) * geometry.num_layers)

    def saved(drops: np.ndarray) -> float:
        return float(saved_share(geometry, drops[1:], num_visual_tokens, drops[0]))

    most, tried = 0.0, ""
    for words, shape in shapes:
        most, tried = max(most, saved(shape(1.0))), words
        # A budget that was counted in whole tokens may pass the largest by a rounding of floats.
        if most < reduction - 1e-12:
            continue
        low, high = 0.0, 1.0
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if saved(shape(middle)) < reduction else (low, middle)
        wanted = shape(high)
        first = int(np.flatnonzero(wanted)[0])
        counts = round_drops(geometry, wanted.tolist(), num_visual_tokens, reduction, range(first, len(wanted)))
        return Drops(counts[0], counts[1:])
    raise ValueError(f"reduction is {reduction:.4f}, but dropping {tried} saves {most:.4f} at most")
