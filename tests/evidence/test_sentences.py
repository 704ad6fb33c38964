"""The sentences that sections answer with, from tables whose outcome is known."""

from __future__ import annotations

import math
from itertools import product

import pytest

from app.evidence import ways
from app.evidence.board import THE_ORIGINAL, corrected
from app.evidence.numbers import Correlation, Estimate
from app.evidence.sections import (
    calibration,
    combination,
    costs,
    direction,
    layers,
    methods,
    options,
    other_models,
    schedules,
    transfer,
    two_fits,
)
from fitprune_core import PruningRecipe
from fitprune_core.evaluation.significance import holm
from tests.evidence.boards import board_of
from tests.pruned import recipe_of

CHANCE = "no difference beyond chance"
MANY, FEW = "1" * 40, "1" * 10 + "0" * 30
BUDGET = 0.8


def mcnemar(lost: int, won: int) -> float:
    """The test by its definition: as many fair coins as questions that one alone got right."""
    tail = sum(math.comb(lost + won, heads) for heads in range(min(lost, won) + 1)) / 2 ** (lost + won)
    return min(1.0, 2 * tail)


class TestMethods:
    def test_a_difference_that_is_there_is_told_with_its_corrected_p(self, tmp_path):
        marks = {THE_ORIGINAL: MANY, ("fitprune", BUDGET): "1" * 38 + "00", ("random", BUDGET): FEW,
                 ("best", BUDGET): MANY}  # fmt: skip
        board = board_of(tmp_path, marks)
        p_values = methods.corrected_tests(board)
        # Six tests in all: fitprune against random is random against fitprune.
        raw = [mcnemar(2, 0), mcnemar(0, 28), mcnemar(30, 0), mcnemar(0, 0), mcnemar(0, 30), mcnemar(0, 2)]
        assert sorted(p for p in p_values.values() if p is not None) == pytest.approx(sorted(holm(raw)))
        said = methods.answer_of(board, p_values)
        assert said.startswith("With 80 % of the visual FLOPs saved best is right most often, on 100.0 %")
        assert "fitprune is better than random (+70.0 points)" in said
        assert f"between best and fitprune there is {CHANCE} (+5.0 points, from" in said

    def test_the_strongest_ranking_is_told_beside_the_combination(self, tmp_path):
        marks = {THE_ORIGINAL: MANY, ("fitprune", BUDGET): FEW, ("random", BUDGET): FEW, ("cross-only", BUDGET): MANY,
                 ("fitprune+", BUDGET): "1" * 39 + "0"}  # fmt: skip
        board = board_of(tmp_path, marks)
        p_values = methods.corrected_tests(board)
        # Four ways against the original and three rivals, each pair once.
        assert len(p_values) == 4 + 6
        said = methods.answer_of(board, p_values)
        assert "cross-only is better than fitprune (+75.0 points)" in said
        assert f"between fitprune+ and cross-only there is {CHANCE} (-2.5 points" in said

    def test_where_random_does_as_well_it_says_so(self, tmp_path):
        board = board_of(tmp_path, {THE_ORIGINAL: MANY, ("fitprune", BUDGET): MANY, ("random", BUDGET): MANY})
        assert f"between fitprune and random there is {CHANCE}" in methods.answer_of(
            board, methods.corrected_tests(board)
        )

    def test_what_the_combination_loses_is_told_by_kind(self, tmp_path):
        ways = {name: (name, BUDGET) for name in ("fitprune+", "fitprune", "cross-only", "random")}
        alternating = {ways["fitprune+"]: "10" * 20, ways["fitprune"]: "11" * 20, ways["random"]: "01" * 20,
                       ways["cross-only"]: "11" * 20}  # fmt: skip
        board = board_of(tmp_path, {THE_ORIGINAL: MANY, **alternating}, kinds=("read", "describe"))
        lost = methods.losing_kinds(board)
        assert [words.split(" by ")[1].split(",")[0] for words in lost] == ["fitprune", "cross-only", "random"]
        assert all(words.startswith("describe at 80 %, 0.0 %") and words.endswith("p < 0.001") for words in lost)


def test_schedules_tell_ranking_and_schedule_apart(tmp_path):
    base, once = schedules.BASE, "fitprune, one shot"
    board = board_of(tmp_path, {THE_ORIGINAL: MANY, (base, BUDGET): MANY, (once, BUDGET): MANY})
    p_values = corrected({way: board.against(way, (base, BUDGET)) for way in board.ways[2:]})
    (tmp_path / "orders").mkdir()
    marks = {THE_ORIGINAL: MANY, ("fitprune", BUDGET): MANY, ("random", BUDGET): FEW, ("random(seed=1)", BUDGET): MANY}
    said = schedules.answer_of(board, p_values, board_of(tmp_path / "orders", marks))
    assert "orders at random (40 questions, section 1): better than order 1 (+75.0 points); " in said
    assert f"{CHANCE} from order 2 (+0.0 points)." in said
    assert f"against other schedules, 80 % saved (40 questions): {CHANCE} from one shot (+0.0 points)." in said


def test_layers_speak_of_correlation_and_search():
    asked = [PruningRecipe("m", 2, 10, 0.5, achieved, (3, 2)) for achieved in (0.5, 0.4958)]
    said = layers.answer_of(Correlation(0.8, 0.4, 0.95, 0.002), asked, "and so on")
    assert "goes with the share of answers that stay" in said and "to within 0.42 points" in said
    assert said.endswith(" And so on.")
    assert "does not tell, beyond chance," in layers.answer_of(Correlation(0.2, -0.4, 0.7, 0.4), asked, "so")
    assert "too few layers" in layers.answer_of(None, asked, "so")
    said = layers.answer_of(Correlation(0.8, 0.4, 0.95, 0.002), asked, "so", Correlation(0.9, 0.7, 0.96, 0.0001),
                            Correlation(0.1, -0.5, 0.6, 0.7))  # fmt: skip
    assert "of the layer's number alone 0.90, p < 0.001; with that held 0.10, p 0.700). The" in said


def test_calibration_says_how_far_recipes_are_and_with_how_many_seeds_it_shows():
    distances = {
        (calibration.PLAIN, 8, BUDGET): Estimate(0.3, 0.2, 0.4),
        (calibration.PLAIN, 64, BUDGET): Estimate(0.1, 0.05, 0.15),
        (calibration.PLAIN, 4, 0.6): Estimate(1, 1, 1),
        (calibration.SHIPPED, 8, BUDGET): Estimate(1, 1, 1),
    }
    right = {8: Estimate(0.7, 0.7, 0.7), 64: Estimate(0.75, 0.75, 0.75)}  # the same with every seed
    said = calibration.answer_of(distances, right, [False] * 5)
    assert said == (
        "At 80 % a recipe from 8 samples drops elsewhere than those from 64 samples of other seeds do: 100.0 % of what "
        "it drops as shipped and 30.0 % of what it drops by the paper's rule. Recipes as shipped get 70.0 % right from "
        "8 samples and 75.0 % from 64, mean of 5 seeds; with 0 of them that is a difference beyond chance."
    )
    assert "mean of 2 seeds; with 1 of them that is" in calibration.answer_of(distances, right, [True, False])


def test_sizes_are_told_apart_by_questions_not_by_seeds_that_agree(tmp_path):
    """One question of 40 that every seed loses is no difference, though no seed has another count."""
    by_size = {"8": "0" + "1" * 39, "64": "1" * 40}
    marks = {
        (f"{size} samples of seed {seed}", BUDGET): of_size for seed in (1, 2) for size, of_size in by_size.items()
    }
    assert calibration.apart_of(board_of(tmp_path, {THE_ORIGINAL: MANY, **marks}), (1, 2), (8, 64)) == [False, False]
    marks |= {("8 samples of seed 1", BUDGET): "0" * 40}
    (tmp_path / "apart").mkdir()
    board = board_of(tmp_path / "apart", {THE_ORIGINAL: MANY, **marks})
    assert calibration.apart_of(board, (1, 2), (8, 64)) == [True, False]


def test_a_distance_is_to_the_recipes_of_the_other_seeds_from_the_most_samples():
    removed = {(1, 8): (10, 0), (1, 64): (0, 10), (2, 64): (5, 5), (3, 64): (10, 0), (3, 8): (0, 10)}
    fits = [
        calibration.Fit(fit, size, seed, recipe_of(counts if fit == "a" else (0, 10), 36))
        for (seed, size), counts in removed.items()
        for fit in "ab"
    ]
    far, alike = (calibration.distance_to_others(each, fits) for each in fits[:2])
    assert (far, alike) == (0.25, 0.0)  # half of it to seed 2, none to seed 3, and its own is not asked


def test_calibration_distances_are_means_over_the_seeds():
    about = {"size": "8", "budget": "0.8"}
    rows = [about | {"fit": fit, "seed": str(seed), "distance": str(seed * part)} for fit, part in
            (("a", 0.1), ("b", 0.2)) for seed in range(1, 6)]  # fmt: skip
    found = calibration.distances_of(rows)
    assert {key: round(each.value, 9) for key, each in found.items()} == {("a", 8, 0.8): 0.3, ("b", 8, 0.8): 0.6}


def test_transfer_speaks_of_both_worlds(tmp_path):
    own, foreign = ("fitted on plain", BUDGET), ("fitted on crowded", BUDGET)
    (tmp_path / "plain").mkdir()
    (tmp_path / "crowded").mkdir()
    boards = {"plain": board_of(tmp_path / "plain", {THE_ORIGINAL: MANY, own: MANY, foreign: FEW}),
              "crowded": board_of(tmp_path / "crowded", {THE_ORIGINAL: MANY, own: MANY, foreign: MANY})}  # fmt: skip
    said = transfer.answer_of(boards, ways.tests_across(boards, transfer.own_recipe))
    # 30 of 80 questions lost, none won.
    assert "change -37.5 points of what their own get right, all worlds together (-48.3 to -26.7, p < 0.001)" in said
    assert f"Recipes of other worlds, one by one: worse in 1, {CHANCE} in 1 of 2 uses." in said
    boards = {"a-seed": board_of(tmp_path / "plain", {THE_ORIGINAL: MANY, ("fitted on a-seed", BUDGET): MANY,
                                                      ("fitted on the-model", BUDGET): FEW})}  # fmt: skip
    said = transfer.answer_of(boards, ways.tests_across(boards, transfer.own_recipe), frozenset(boards))
    assert said == "Recipes of other models, one by one: worse in 1 of 1 uses."


def test_a_question_asked_by_two_foreign_recipes_counts_once(tmp_path):
    own, two = ("fitted on plain", BUDGET), [("fitted on a", BUDGET), ("fitted on b", BUDGET)]
    board = board_of(tmp_path, {THE_ORIGINAL: "1" * 8, own: "11110000", two[0]: "11100001", two[1]: "11000001"})
    found = transfer.pooled({"plain": board}, BUDGET)
    differences = [0, 0, -0.5, -1, 0, 0, 0, 1]
    assert found.value == pytest.approx(sum(differences) / 8)
    signs = [sum(s * d for s, d in zip(each, (-0.5, -1, 1), strict=True)) for each in product((1, -1), repeat=3)]
    assert found.p == pytest.approx(sum(abs(each) >= 0.5 for each in signs) / 8)
    assert transfer.pooled({}, BUDGET) is None


def test_a_whole_request_is_reckoned_from_its_rounds():
    about = {"new_tokens": "5", "machine": "a machine."}
    flops = {"original": {"prefill_flops": "9e12", "total_flops": "1e13"},
             "pruned": {"prefill_flops": "4.5e12", "total_flops": "6e12"}}  # fmt: skip
    times = {"original": [(20e3, 4e3), (10e3, 6e3), (12e3, 5e3)], "pruned": [(6e3, 4e3), (7e3, 4e3), (5e3, 5e3)]}
    rows = [
        about | flops[way] | {"way": way, "prefill_ms": str(prefill), "decode_ms": str(decode)}
        for way, rounds in times.items()
        for prefill, decode in rounds
    ]
    first, whole = costs.whole_request_table(rows).rows
    assert first == ["to the first token", "12.0 s, 9.00 TFLOPs", "6.0 s, 4.50 TFLOPs", "50.0 %", "50.0 %", "1.00"]
    assert whole[:3] == ["all 5 tokens", "17.0 s, 10.00 TFLOPs", "10.0 s, 6.00 TFLOPs"]
    assert whole[3:] == ["41.2 %", "40.0 %", "1.03"]


def test_other_models_are_each_told_apart(tmp_path):
    steep = {"fitprune+": MANY, "fitprune": FEW, "random": FEW}
    flat = {"fitprune+": MANY, "random": MANY}
    boards = {}
    for name, marks in {"steep": steep, "flat": flat}.items():
        (tmp_path / name).mkdir()
        by_way = {(way, BUDGET): of_way for way, of_way in marks.items()}
        boards[name] = board_of(tmp_path / name, {THE_ORIGINAL: MANY, **by_way})
    said = other_models.answer_of(boards, ways.tests_across(boards, other_models.base_of))
    assert "fitprune+ in 2 other models: against fitprune better in 1, not to be compared in 1; " in said
    assert f"against divprune not to be compared in 2; against random better in 1, {CHANCE} in 1." in said


class TestCosts:
    def rows(self, saved_ms):
        rows = []
        for method, budget, factor in (("original", "0.0", 1.0), ("fitprune", "0.8", 0.5)):
            about = {"method": method, "budget": budget} | dict.fromkeys(costs.SAVINGS.values(), "")
            visual, total = (100.0, 200.0) if method == "original" else (20.0, 150.0)
            counted = {"visual_flops": visual, "prefill_flops": 100 * factor, "total_flops": total,
                       "kv_cache_bytes": 1000 * factor}  # fmt: skip
            for number, saved in enumerate(saved_ms or [None]):
                rows.append(about | {"id": f"q{number}", "round": "0"} | {k: str(v) for k, v in counted.items()})
                # Two rounds about each mean: rounds of one question are no questions.
                for at, off in enumerate((-0.5, 0.5) if saved is not None else (), 1):
                    time = 10.0 if method == "original" else 10.0 - saved - off
                    rows.append(about | {"id": f"q{number}", "round": str(at), "prefill_ms": str(time)})
        return rows

    def test_times_spread_over_questions_not_over_their_rounds(self):
        found = costs.savings_of(self.rows([4.0, 4.0, 4.0]))["fitprune", BUDGET]["prefill time"]
        assert found.value == pytest.approx(0.4) and found.high - found.low == pytest.approx(0, abs=1e-9)

    def test_what_is_saved_is_by_question_and_round(self):
        found = costs.savings_of(self.rows([3.0, 5.0]))["fitprune", BUDGET]
        assert {name: round(each.value, 6) for name, each in found.items()} == {
            "visual FLOPs": 0.8, "prefill FLOPs": 0.5, "whole request": 0.25, "KV cache": 0.5, "prefill time": 0.4
        }  # fmt: skip

    def test_two_methods_are_held_against_each_other_question_by_question(self):
        rows = self.rows([3.0, 5.0])
        rows += [each | {"method": "other", "prefill_ms": str(float(each["prefill_ms"]) - 1)}
                 for each in rows if each["method"] == "fitprune" and each["prefill_ms"]]  # fmt: skip
        found = costs.time_between(rows, "other", "fitprune", BUDGET)
        # The questions differ by far more than the two methods do.
        assert found.value == pytest.approx(0.1) and found.high - found.low == pytest.approx(0, abs=1e-9)
        assert costs.time_between(rows, "none", "fitprune", BUDGET) is None

    def test_the_sentence_has_the_share_of_the_ideal_or_says_that_there_is_nothing(self):
        said = costs.answer_of(costs.savings_of(self.rows([4.0, 4.1, 3.9])))
        assert "saves 40.0 % of the time to the first token (37.5 to 42.5), 0.80 of what its FLOPs promise" in said
        assert "costs" in costs.answer_of(costs.savings_of(self.rows([-2.0, -2.1])))
        assert CHANCE in costs.answer_of(costs.savings_of(self.rows([-1.0, 1.0, 0.5])))
        more = costs.answer_of(costs.savings_of(self.rows([4.0, 4.1, 3.9])), plus=Estimate(-0.03, -0.04, -0.02))
        assert more.endswith("fitprune+ saves less of that time (-3.0 points, from -4.0 to -2.0).")
        busy = costs.answer_of(costs.savings_of(self.rows([4.0, 4.1, 3.9])), is_busy=True)
        assert "it saves, on a busy machine, 40.0 % of the time" in busy
        assert "no time was taken" in costs.answer_of(costs.savings_of(self.rows([])))


def test_two_fits_are_told_apart_by_answers_and_layers(tmp_path):
    ours, theirs = (two_fits.STATISTICS, BUDGET), (two_fits.SEQUENTIAL, BUDGET)
    shipped = (two_fits.SHIPPED, BUDGET)
    (tmp_path / "ahead").mkdir()
    board = board_of(tmp_path / "ahead", {THE_ORIGINAL: MANY, ours: FEW, shipped: MANY, theirs: FEW})
    p_values = {way: board.against(way, theirs).p for way in (ours, shipped)}
    assert two_fits.answer_of(board, p_values, {0.2: 0.05, 0.8: 0.25}) == (
        "The two fits drop 5.0 to 25.0 % of the tokens at other layers. The fit as shipped against the sequential fit: "
        f"better at 80 % (+75.0 points). The paper's rule from statistics against the sequential fit: {CHANCE} at 80 % "
        "(+0.0 points)."
    )


def test_the_wrong_direction_is_named(tmp_path):
    wrong, right = (direction.WRONG, BUDGET), (direction.RIGHT, BUDGET)
    board = board_of(tmp_path, {THE_ORIGINAL: MANY, wrong: FEW, right: MANY, (direction.RANDOM, BUDGET): MANY})
    chance = (direction.RANDOM, BUDGET)
    said = direction.answer_of(board, {way: board.against(way, right).p for way in (wrong, chance)})
    assert "a random choice is better than the wrong direction (+75.0 points)" in said
    assert "the right one is better than the wrong direction (+75.0 points)" in said
    assert f"between the right direction and a random choice there is {CHANCE} (+0.0 points" in said
    assert "gives 25.0 %" in said and "a random choice 100.0 %" in said and "most important ones 100.0 %" in said


def test_an_option_that_was_chosen_elsewhere_is_held_against_the_papers(tmp_path):
    own, best, fitprune = ("fastv", BUDGET), (f"fastv, {options.BEST}", BUDGET), ("fitprune", BUDGET)
    boards = {"fastv": board_of(tmp_path, {THE_ORIGINAL: MANY, own: FEW, best: MANY, fitprune: MANY})}
    chosen = {("fastv", BUDGET): "fastv(layer=4)"}
    p_values = options.tests_of(boards, chosen)
    assert set(p_values) == {("fastv", own), ("fastv", fitprune)}
    assert options.answer_of(boards, p_values, chosen) == (
        "With 80 % saved fastv(layer=4) is right on 100.0 %, better than fastv as published (+75.0 points); "
        f"{CHANCE} from fitprune (+0.0 points)."
    )
    # Where its own option is the best it is not held against itself.
    published = {("fastv", BUDGET): "fastv"}
    p_values = options.tests_of(boards, published)
    assert set(p_values) == {("fastv", fitprune)}
    assert "as published" not in options.answer_of(boards, p_values, published)


def test_options_begin_with_the_papers_and_reach_half_of_the_decoder(make_bench):
    found = options.tried_options(make_bench().geometry)
    assert found["fastv"] == ["fastv", "fastv:layer=1", "fastv:layer=2"]
    assert found["pyramiddrop"] == ["pyramiddrop", "pyramiddrop:stages=2"]


def test_the_combination_is_held_against_each_part_on_each_set(tmp_path):
    marks = {THE_ORIGINAL: MANY, ("fitprune+", BUDGET): MANY, ("fitprune", BUDGET): FEW, ("divprune", BUDGET): MANY,
             ("random", BUDGET): FEW}  # fmt: skip
    boards = {"scenes": board_of(tmp_path, marks)}
    said = combination.answer_of(boards, {"scenes": ways.tests_against(boards["scenes"], "fitprune+")})
    assert said.startswith("With 80 % of the visual FLOPs saved, on scenes fitprune+ is right on 100.0 %")
    both = "better than fitprune (+75.0 points) and random (+75.0 points)"
    assert f"{both}; {CHANCE} from divprune (+0.0 points); not to be compared with cross-only." in said


def test_what_takes_a_parts_place_is_told_by_its_outcome(tmp_path):
    plus, entering, later = (("fitprune+", BUDGET), ("random tokens enter", BUDGET), ("all leave later", BUDGET))
    board = board_of(tmp_path, {THE_ORIGINAL: MANY, plus: MANY, ("random", BUDGET): FEW, entering: FEW, later: MANY})
    p_values = ways.tests_against(board, "fitprune+")
    assert combination.parts_of(board, p_values) == (
        "With one part of it replaced (40 questions): worse where random tokens enter (-75.0 points); "
        f"{CHANCE} where all leave later (+0.0 points)."
    )
    assert combination.parts_of(board, p_values, 0.6) == ""


def test_what_takes_a_parts_place_is_another_way(make_bench):
    bench = make_bench()
    found = combination.variants_of(bench, PruningRecipe("m", 4, 36, 0.5, 0.5, (36, 0, 0, 0)))
    labels = {each.name: each.method.label for each in found}
    assert labels["random tokens enter"] == "random(schedule=withdrawal)" and labels["divprune"] == "divprune"
    # Of four layers a third is one, two thirds are two, which is half: fitprune+ itself.
    assert labels["all leave after a third"] == "fitprune+(layer=1)" and "all leave after two thirds" not in labels
    assert labels["all leave after all layers"] == "fitprune+(layer=4)" and len(set(labels.values())) == len(labels)
