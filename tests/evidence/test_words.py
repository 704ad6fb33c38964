"""What sentences are made of: words for tests and shares, and boards that are counted by hand."""

from __future__ import annotations

import pytest

from app.evidence import words
from app.evidence.board import THE_ORIGINAL, corrected
from app.evidence.words import (
    listed,
    outcome,
    outcomes,
    p_cell,
    percent,
    sentence,
    share_cell,
    tally,
    verdict,
)
from fitprune_core.evaluation.significance import holm, share_of
from fitprune_core.evaluation.significance import mcnemar as paired
from tests.evidence.boards import board_of

CHANCE = "no difference beyond chance"


class TestWords:
    def test_a_verdict_names_the_better_one_by_the_counts(self):
        assert verdict("a", "b", paired(2, 30, 100), 0.0004) == "a is better than b (+28.0 points)"
        assert verdict("a", "b", paired(30, 2, 100), 0.0123) == "b is better than a (+28.0 points)"

    def test_what_chance_may_do_is_called_that_whichever_leads(self):
        # By itself this test finds something, among the others of its table no more.
        assert paired(10, 1).p < 0.05
        assert verdict("a", "b", paired(10, 1), 0.051) == f"between a and b there is {CHANCE}"
        # What may still be there is said, also where nothing differed.
        value, low, high = (100 * each for each in paired(1, 7, 250).difference())
        said = verdict("a", "b", paired(1, 7, 250), 0.422)
        assert said == f"between a and b there is {CHANCE} ({value:+.1f} points, from {low:.1f} to {high:.1f})"
        assert verdict("a", "b", paired(0, 0, 300), 1.0).endswith("(+0.0 points, from -0.7 to 0.7)")
        assert verdict("a", "b", None, None) == "a and b cannot be compared"

    def test_cells(self):
        share = share_of(30, 40)
        assert share_cell(share) == f"75.0 [{100 * share.low:.1f}, {100 * share.high:.1f}]"
        assert (share_cell(None), p_cell(0.0009), p_cell(0.2), percent(0.5)) == ("–", "< 0.001", "0.200", "50.0 %")
        assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
            "none", "a", "a and b", "a, b and c"
        ]  # fmt: skip
        assert sentence("so it is") == "So it is." == sentence("so it is.")
        _, low, high = (f"{100 * each:.1f}".replace("-", "−") for each in paired(30, 12, 400).difference())
        assert words.test_cell(paired(30, 12, 400), 0.004) == f"−4.5 [{low}, {high}], +12 −30, p 0.004"
        assert words.test_cell(paired(2, 30), 0.004) == "+30 −2, p 0.004" and words.test_cell(None, None) == "–"

    def test_several_tests_are_told_by_their_outcome(self):
        tests = {"a": (paired(2, 30), 0.0004), "b": (paired(30, 2), 0.01), "c": (paired(1, 7, 250), 0.422),
                 "d": (None, None), "e": (paired(0, 9), 0.04)}  # fmt: skip
        assert outcomes(tests) == (
            f"better for a and e; worse for b; {CHANCE} for c (+2.4 points); not to be compared for d"
        )
        assert outcomes(tests, "than") == (
            f"better than a and e; worse than b; {CHANCE} from c (+2.4 points); not to be compared with d"
        )
        assert tally([outcome(*each) for each in tests.values()]) == (
            f"better in 2, worse in 1, {CHANCE} in 1, not to be compared in 1"
        )


class TestBoard:
    def test_everything_is_counted_by_kind_and_over_what_both_answered(self, tmp_path):
        marks = {THE_ORIGINAL: "1101", ("a", 0.8): "10-1", ("b", 0.8): "0111"}
        board = board_of(tmp_path, marks, kinds=("color", "where"))
        a, b = ("a", 0.8), ("b", 0.8)
        assert (board.right(a).right, board.right(a).asked, board.right(b, "color").right) == (2, 3, 1)
        assert (board.against(a, b).won, board.against(a, b).lost) == (1, 1)
        assert board.against(a, ("c", 0.8)) is None and board.right(("c", 0.8)) is None
        assert board.flips(a) == {"q0": False, "q1": True, "q3": False}
        assert board.same(a).value == pytest.approx(2 / 3)
        assert board.saved(a) == pytest.approx(0.8) and board.best([a, b]) == [b, a]
        assert (board.count, board.kinds, board.ways) == (4, ["color", "where"], [THE_ORIGINAL, a, b])

    def test_a_family_of_tests_is_corrected_without_what_is_none(self):
        pairs = {"a": paired(1, 9), "b": None, "c": paired(4, 5)}
        first, last = holm([pairs["a"].p, pairs["c"].p])
        assert corrected(pairs) == {"a": first, "b": None, "c": last}
