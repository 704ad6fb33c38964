"""Schedules that save what a recipe saves, each against its paper's rule and arithmetic of its own."""

from __future__ import annotations

from itertools import accumulate

import pytest

from fitprune_core.cost.decoder import DecoderGeometry, visual_reduction
from fitprune_core.recipes.budget import TOLERANCE
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import (
    Drops,
    before_decoder,
    check_schedule,
    drops_by,
    one_shot,
    staircase,
    withdrawal,
)

DEEP = DecoderGeometry(32, 512, 1376, 512, 512, 32000)
TOKENS = 400
SMALL = DecoderGeometry(12, 160, 448, 160, 160, 1024)
SCHEDULES = [one_shot, staircase, before_decoder, withdrawal]


def cost(geometry: DecoderGeometry, arriving: int, leaving: int) -> int:
    """Multiply-adds of one layer on visual tokens, written out: q, k, v, scores and sums, then o and the gated MLP."""
    width, inner = geometry.hidden_size, geometry.intermediate_size
    return (
        3 * arriving * width * width + 2 * arriving**2 * width + leaving * width * width + 3 * leaving * width * inner
    )


def saved(geometry: DecoderGeometry, drops: Drops, tokens: int) -> float:
    left = [tokens - drops.before - gone for gone in accumulate(drops.removed)]
    spent = sum(cost(geometry, a, b) for a, b in zip([tokens - drops.before, *left], left, strict=False))
    return 1 - spent / (geometry.num_layers * cost(geometry, tokens, tokens))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("reduction", [0.03, 0.1, 0.37, 0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize(("geometry", "tokens"), [(DEEP, TOKENS), (SMALL, 256), (SMALL, 77)])
def test_every_budget_is_met(schedule, reduction, geometry, tokens):
    drops = schedule(geometry, tokens, reduction)
    assert saved(geometry, drops, tokens) == pytest.approx(
        visual_reduction(geometry, drops.removed, tokens, drops.before)
    )
    # One token less through one layer is the finest step that there is.
    finest = cost(geometry, 1, 1) / (geometry.num_layers * cost(geometry, tokens, tokens))
    assert abs(saved(geometry, drops, tokens) - reduction) <= max(TOLERANCE, 2 * finest * tokens / 10)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_budget_of_nothing_drops_nothing(schedule):
    assert schedule(DEEP, TOKENS, 0.0) == Drops(0, (0,) * 32)
    assert not schedule(DEEP, TOKENS, 0.0)


class TestOneShot:
    @pytest.mark.parametrize("layer", [1, 2, 3, 10])
    def test_all_but_single_tokens_go_after_one_layer(self, layer):
        drops = one_shot(DEEP, TOKENS, 0.5, layer)
        assert drops.before == 0 and not any(drops.removed[: layer - 1])
        assert sum(drops.removed[layer:]) <= 2 < drops.removed[layer - 1]

    def test_the_number_kept_is_what_the_budget_asks_for(self):
        """Two layers in full and thirty with so many: the number follows from the arithmetic, up to a token."""
        fits = [
            kept
            for kept in range(TOKENS)
            if 1 - (cost(DEEP, TOKENS, TOKENS) + cost(DEEP, TOKENS, kept) + 30 * cost(DEEP, kept, kept))
            / (32 * cost(DEEP, TOKENS, TOKENS)) >= 0.6
        ]  # fmt: skip
        drops = one_shot(DEEP, TOKENS, 0.6)
        assert abs(TOKENS - sum(drops.removed[:2]) - max(fits)) <= 1

    def test_the_papers_layer_gives_way_where_it_cannot_save_enough(self):
        assert one_shot(SMALL, 256, 0.8).removed[0] == 0
        assert one_shot(SMALL, 256, 0.9).removed[0] > 200
        with pytest.raises(ValueError, match=r"0\.9000, but dropping after layer 2 saves 0\.\d+ at most"):
            one_shot(SMALL, 256, 0.9, 2)

    @pytest.mark.parametrize("layer", [0, 13])
    def test_layers_that_are_not_there(self, layer):
        with pytest.raises(ValueError, match=f"layer is {layer}; a decoder of 12 layers"):
            one_shot(SMALL, 256, 0.5, layer)


class TestStaircase:
    def test_four_stages_pass_on_one_share(self):
        drops = staircase(DEEP, TOKENS, 0.5)
        assert [layer for layer, count in enumerate(drops.removed) if count > 1] == [7, 15, 23]
        left = [TOKENS, *(TOKENS - gone for gone in accumulate(drops.removed))]
        shares = [left[end] / left[end - 8] for end in (8, 16, 24)]
        assert max(shares) - min(shares) < 0.02

    def test_a_half_is_the_papers_staircase(self):
        """Halving after layers 8, 16 and 24 saves so much; asked for that, the staircase is the paper's."""
        halves = Drops(0, tuple({7: 200, 15: 100, 23: 50}.get(layer, 0) for layer in range(32)))
        assert staircase(DEEP, TOKENS, saved(DEEP, halves, TOKENS)) == halves

    def test_stages_are_added_before_the_first_step_takes_nearly_all(self):
        for reduction in (0.7, 0.8, 0.85):
            drops = staircase(DEEP, TOKENS, reduction)
            first = next(count for count in drops.removed if count)
            assert first <= 0.75 * TOKENS + 2
        with pytest.raises(ValueError, match=r"in 4 stages saves 0\.\d+ at most"):
            staircase(DEEP, TOKENS, 0.85, 4)

    @pytest.mark.parametrize("stages", [1, 13])
    def test_stages_that_cannot_be(self, stages):
        with pytest.raises(ValueError, match=f"stages is {stages}; a decoder of 12 layers can have 2 to 12"):
            staircase(SMALL, 256, 0.5, stages)


def test_before_the_decoder_all_but_single_tokens_go_there():
    drops = before_decoder(DEEP, TOKENS, 0.6)
    assert sum(drops.removed) <= 2
    # Attention is quadratic, so a budget of 60 % needs a little less than 60 % of the tokens to go.
    assert 0.55 * TOKENS < drops.before < 0.6 * TOKENS


class TestWithdrawal:
    @pytest.mark.parametrize(("layer", "last"), [(None, 16), (20, 20), (3, 3), (1, 1), (32, 32)])
    @pytest.mark.parametrize("reduction", [0.7, 0.9])
    def test_a_share_never_enters_and_up_to_half_leaves_half_way(self, layer, last, reduction):
        half = last // 2

        def spent(entering: float) -> float:
            if not half:
                return cost(DEEP, entering, 0)
            later = entering * max(entering / TOKENS, 0.5)
            first = (half - 1) * cost(DEEP, entering, entering) + cost(DEEP, entering, later)
            return first + (last - half - 1) * cost(DEEP, later, later) + cost(DEEP, later, 0)

        whole = 32 * cost(DEEP, TOKENS, TOKENS)
        most = max(entering for entering in range(TOKENS + 1) if 1 - spent(entering) / whole >= reduction)
        drops = withdrawal(DEEP, TOKENS, reduction, layer)
        left = [TOKENS - drops.before - gone for gone in (0, *accumulate(drops.removed))]
        if most == TOKENS:  # withdrawing them alone saves it
            assert drops.before == 0 and left[last] > 1
            return
        assert abs(left[0] - most) <= 1 and left[last] <= 1
        assert abs(left[last - 1] - left[0] * (max(left[0] / TOKENS, 0.5) if half else 1)) <= 3
        assert sum(gone > 2 for gone in drops.removed) == (2 if half else 1)

    def test_a_small_budget_lets_as_many_go_deeper_as_it_can(self):
        def share(deeper: int) -> float:
            spent = 15 * cost(DEEP, TOKENS, TOKENS) + cost(DEEP, TOKENS, deeper) + 16 * cost(DEEP, deeper, deeper)
            return 1 - spent / (32 * cost(DEEP, TOKENS, TOKENS))

        drops = withdrawal(DEEP, TOKENS, 0.3)
        most = max(deeper for deeper in range(TOKENS + 1) if share(deeper) >= 0.3)
        assert drops.before == 0 and not any(drops.removed[:15])
        assert abs(TOKENS - drops.removed[15] - most) <= 1

    @pytest.mark.parametrize("layer", [0, 13])
    def test_layers_that_are_not_there(self, layer):
        with pytest.raises(ValueError, match=f"layer is {layer}; a decoder of 12 layers"):
            withdrawal(SMALL, 256, 0.5, layer)


WORDS = ["recipe", "one-shot", "one-shot@4", "staircase", "staircase@6", "before", "withdrawal", "withdrawal@3"]


@pytest.mark.parametrize("tokens", [256, 200])
@pytest.mark.parametrize("schedule", WORDS)
def test_all_save_what_the_recipe_saves_for_the_picture(schedule, tokens):
    removed = (0, 40, 0, 60, 0, 0, 50, 0, 30, 0, 0, 0)
    recipe = PruningRecipe("small", 12, 256, 0.5, 0.5, removed)
    budget = saved(SMALL, Drops(0, recipe.scaled_to(tokens).removed), tokens)
    drops = drops_by(schedule, recipe, SMALL, tokens)
    assert abs(saved(SMALL, drops, tokens) - budget) <= TOLERANCE
    assert (drops.removed == recipe.scaled_to(tokens).removed) == (schedule == "recipe")


@pytest.mark.parametrize("schedule", ["twice", "one-shot@", "one-shot@two", "recipe@3", "before@1", 5])
def test_other_words_are_no_schedule(schedule):
    with pytest.raises(ValueError, match="schedule is .*choose one of recipe, one-shot, staircase, before"):
        check_schedule(schedule)
