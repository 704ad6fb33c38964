"""What tells that an answer was changed, and what asking again is worth, from tables whose outcome is known."""

from __future__ import annotations

import dataclasses

import pytest

from app.evidence.bench import variant
from app.evidence.board import THE_ORIGINAL
from app.evidence.sections import asked_again, flips
from fitprune_core import PruningRecipe
from tests.evidence.boards import board_of

BUDGET = 0.8


class TestFlips:
    def rows(self, margins, budget=BUDGET):
        about = {"variant": "fitprune", "budget": str(budget), "divergence": "0.5"}
        return [
            about | {"id": f"q{number}", "margin_original": str(margin), "margin_pruned": str(margin)}
            for number, margin in enumerate(margins)
        ]

    def test_a_small_margin_predicts_a_flip(self, tmp_path):
        board = board_of(tmp_path, {THE_ORIGINAL: "1" * 12, ("fitprune", BUDGET): "1" * 6 + "0" * 6})
        found = flips.predictions_of(board, self.rows([0.9, 0.8, 0.7, 0.6, 0.5, 0.15, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]))
        way = ("fitprune", BUDGET)
        # One of six by six pairs is the wrong way round: 0.2 of a flip against 0.15 of an answer that stays.
        assert found[way, "first token's margin, original"].value == pytest.approx(35 / 36)
        assert found[way, "first tokens' divergence"].value == 0.5

    def test_how_sure_the_whole_answer_was_is_in_its_own_row(self, tmp_path):
        margins = (0.9, 0.8, 0.7, 0.3, 0.5, 0.2)
        board = board_of(tmp_path, {THE_ORIGINAL: "1" * 6, ("fitprune", BUDGET): "111000"}, margins=margins)
        found = flips.predictions_of(board, [])
        assert found[("fitprune", BUDGET), flips.LEAST].value == 1.0
        assert found[("fitprune", BUDGET), "first tokens' divergence"] is None

    def test_every_methods_own_margin_is_told_of_all_questions(self, tmp_path):
        margins = (0.9, 0.8, 0.7, 0.3, 0.5, 0.2)
        marks = {THE_ORIGINAL: "1" * 6, ("fitprune", BUDGET): "111000", ("fitprune+", BUDGET): "000111"}
        board = board_of(tmp_path, marks, margins=margins)
        found = flips.predictions_of(board, [], flips.MARKED)
        assert flips.answer_of(found, {}, {}, asked=6) == (
            "With 80 % saved, a small margin of its least sure token goes with a changed answer (AUC on 6 test "
            "questions: fitprune 1.00; no better than chance: fitprune+ 0.00)."
        )
        silent = {key: each for key, each in found.items() if key[0][0] == "fitprune+"}
        assert "no answer's own margin tells better than chance that it was changed" in flips.answer_of(silent, {}, {})

    def test_where_nothing_flips_nothing_is_predicted(self, tmp_path):
        board = board_of(tmp_path, {THE_ORIGINAL: "1" * 4, ("fitprune", BUDGET): "1" * 4})
        nothing = flips.predictions_of(board, self.rows([0.1] * 4))
        assert flips.answer_of(nothing, {}, {}).endswith("nothing can predict a change.")

    def test_a_kind_is_known_from_other_questions_and_left_out_within(self, tmp_path):
        (tmp_path / "all").mkdir()
        way = ("fitprune", BUDGET)
        # Of 8 questions by turns of two kinds the first four are asked; of the others "b" changes, "a" does not.
        few = board_of(tmp_path, {THE_ORIGINAL: "1111", way: "1010"}, kinds="ab")
        every = board_of(tmp_path / "all", {THE_ORIGINAL: "1" * 8, way: "10100010"}, kinds="ab")
        assert flips.changes_of_kinds(every, without=few) == {way: {"a": 0.5, "b": 1.0}}
        assert flips.by_kind(few, flips.changes_of_kinds(every, without=few))[way, flips.KIND].value == 1.0
        # The margin only tells the kinds apart: within one there is no pair of a change and none.
        rows = self.rows([0.9, 0.1, 0.9, 0.1])
        assert flips.predictions_of(few, rows)[way, "first token's margin, original"].value == 1.0
        within = flips.predictions_within(few, rows)
        assert set(within.values()) == {None}
        mixed = board_of(tmp_path, {THE_ORIGINAL: "1111", way: "1001"}, kinds="ab")
        within = flips.predictions_within(mixed, rows)
        assert within[way, "first token's margin, original"].value == 0.5

    def test_a_kind_tells_by_all_other_questions_of_it(self, tmp_path):
        way = ("fitprune", BUDGET)
        marks = {THE_ORIGINAL: "1" * 40, way: "01" * 15 + "11" * 4 + "10"}
        board = board_of(tmp_path, marks, kinds="ab", margins=[number % 7 / 7 for number in range(40)])
        # Of "a" 15 of 20 change, of "b" 1 of 20: a question does not tell of itself.
        numbers = [((15 - 1) / 19, 15), (15 / 19, -5), (0.0, 1), (1 / 19, -19)]
        pairs = [(up, down, m * -n) for up, m in numbers if m > 0 for down, n in numbers if n < 0]
        expected = sum(count * ((up > down) + (up == down) / 2) for up, down, count in pairs) / (16 * 24)
        found = flips.kinds_of_others(board)
        assert found[way, flips.KIND].value == pytest.approx(expected)
        margins = flips.predictions_of(board, [], flips.MARKED)
        said = flips.answer_of(margins, found, flips.predictions_within(board, [], flips.MARKED))
        assert f"Its question's kind tells by itself (fitprune {expected:.2f}); among questions of one kind" in said


class TestAskedAgain:
    FIRST, TARGET = ("fitprune", 0.9), 0.6

    def recipe(self, reduction):
        return dataclasses.replace(PruningRecipe.empty(4, 36, "m"), reduction=reduction)

    def board(self, folder, marks="0001111111", margins=(0.1, 0.2, 0.3, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)):
        return board_of(folder, {THE_ORIGINAL: "1" * 10, self.FIRST: marks}, margins=margins)

    def test_what_is_unsure_is_the_originals_and_costs_both(self, tmp_path):
        board, name = self.board(tmp_path), ("again", self.TARGET)
        board.ask_again(self.FIRST, 0.3, name)  # two questions
        assert board.right(name).right == 9 and board.right(self.FIRST).right == 7
        assert board.saved(name) == pytest.approx(0.9 - 0.2)
        assert board.against(name, self.FIRST).won == 2 and board.ways[-1] == name

    def test_the_margin_spends_what_is_left_and_no_more(self, tmp_path):
        board = self.board(tmp_path)
        below = asked_again.margin_for(board, self.FIRST, self.TARGET)
        assert below == 0.35  # three of ten, 0.1 each
        board.ask_again(self.FIRST, below, ("again", self.TARGET))
        assert board.saved(("again", self.TARGET)) == pytest.approx(self.TARGET)
        assert asked_again.margin_for(board, ("random", 0.9), self.TARGET) is None
        # Of answers that are all as sure none is asked again, rather than all.
        assert asked_again.margin_for(self.board(tmp_path, margins=(1.0,) * 10), self.FIRST, self.TARGET) == 1.0

    def test_the_best_of_the_larger_budgets_is_chosen(self, tmp_path):
        variants = [variant("fitprune", self.recipe(each)) for each in (0.4, 0.8, 0.9)]
        marks = {THE_ORIGINAL: "1" * 10, ("fitprune", 0.4): "1" * 10, ("fitprune", 0.8): "1110000000",
                 self.FIRST: "0001111111"}  # fmt: skip
        board = board_of(tmp_path, marks, margins=[number / 10 for number in range(10)])
        plan = asked_again.best_plan(board, variants, "fitprune", self.TARGET)
        assert plan.before == self.FIRST and plan.below == pytest.approx(0.3)
        assert asked_again.best_plan(board, variants, "fitprune", 0.95) is None

    def test_the_sentence_compares_at_as_many_flops(self, tmp_path):
        same = ("fitprune", 0.6)
        board = board_of(tmp_path, {THE_ORIGINAL: "1" * 10, self.FIRST: "0001111111", same: "0000000000"},
                         margins=[number / 10 for number in range(10)])  # fmt: skip
        plans = [asked_again.Plan(0.6, variant("fitprune", self.recipe(0.9)), 0.3)]
        asked_again.ask_again(board, plans)
        once = {plans[0].after: (same, ("fitprune", 0.5))}
        assert asked_again.answer_of(board, plans, once) == (
            "Asking unsure answers again: against pruning once for as many visual FLOPs it is better for fitprune with "
            "60.0 % saved (+100.0 points); against pruning once for as many FLOPs of the whole request it is not to be "
            "compared for fitprune with 50.0 % saved."
        )

    def test_as_many_flops_in_all_leave_less_to_save_on_visual_tokens(self, tmp_path):
        board = self.board(tmp_path)
        plan = asked_again.Plan(self.TARGET, variant("fitprune", self.recipe(0.9)), 0.3)
        asked_again.ask_again(board, [plan])
        # Each answer costs 3.0 in all, whatever it saves: two of ten are asked again, so 3.6; what is no work on visual
        # tokens is 2.8 of the first answer's 3.0.
        assert board.total_gflops(plan.after) == pytest.approx(3.6)
        assert asked_again.left_to_save(board, plan) == pytest.approx(1 - (3.6 - 2.8) / 2.0)
        assert asked_again.answer_of(board, [], {}) == "No budget left anything to ask again with."
