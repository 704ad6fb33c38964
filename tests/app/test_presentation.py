"""What the page shows of a comparison."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from app.asking.sides import Sides
from app.showing.presentation import MEASURING, UNMEASURED, done_board, idle_board, running_board, trace_of
from fitprune_core.run.comparison import Partial
from fitprune_core.run.results import Pruning
from tests.app.fake_engine import GEOMETRY, TOKENS, FakeEngine, Shape, make_comparison, make_paired

ENGINE = FakeEngine()
LARGE = FakeEngine(shape=Shape(layers=4, grid=48))


def compared(answers=("a red car", "a red car"), percent=60, size=(480, 480), **times):
    return make_comparison(size, "What is it?", ENGINE.recipe_for(percent), answers, **times)


def test_every_row_is_there_from_the_start_so_that_nothing_moves():
    labels = [row.label for row in idle_board(60).rows]
    assert labels == [row.label for row in done_board(compared(), None).rows]
    assert labels[:2] == ["Visual FLOPs", "Total FLOPs"]  # what is counted comes first, and large


def test_original_streams_before_pruned():
    first = running_board(Partial("original", "a red", ""), 60)
    then = running_board(Partial("pruned", "a red car", "a"), 60)
    assert (first.original.state, first.pruned.state) == ("running", "waiting")
    assert (then.original.state, then.pruned.state) == ("done", "running")
    assert (then.original.answer, then.pruned.answer) == ("a red car", "a")


@pytest.mark.parametrize(
    ("answers", "verdict", "truth"),
    [
        (("A red car.", "A red car."), "same", "Both are right: it is “a red car”."),
        (("a red car", "a blue car"), "different", "Only the original is right: it is “a red car”."),
        (("a blue car", "a red car"), "different", "Only FitPrune is right: it is “a red car”."),
        (("a blue car", "a blue car"), "same", "Both are wrong: it is “a red car”."),
    ],
)
def test_verdict_and_truth(answers, verdict, truth):
    board = done_board(compared(answers), "a red car")
    assert (board.verdict, board.truth) == (verdict, truth)


@pytest.mark.parametrize(
    ("sides", "percents", "who"),
    [
        (Sides("random", "fastv"), (60, 60), "FastV"),
        (Sides("fitprune", "fitprune", 20), (20, 60), "FitPrune 60 %"),
        (Sides("fitprune", "fitprune"), (60, 60), "the right"),
    ],
)
def test_of_two_sides_that_prune_the_right_one_is_named(sides, percents, who):
    recipes = [ENGINE.recipe_for(percent) for percent in percents]
    first, second = (make_comparison((480, 480), "What is it?", recipe, ("a car", "a bus")) for recipe in recipes)
    fields = {field.name: getattr(first, field.name) for field in dataclasses.fields(Pruning)}
    against = Pruning(**fields | {"method": sides.left})
    comparison = dataclasses.replace(second, method=sides.right, against=against)
    assert done_board(comparison, "a bus", sides=sides).truth == f"Only {who} is right: it is “a bus”."


def test_counts_have_their_thousands_set_apart():
    comparison = make_comparison((480, 480), "What is it?", LARGE.recipe_for(60), ("a car", "a car"), shape=LARGE.shape)
    dropped = comparison.num_dropped
    assert dropped > 1000 and f"{dropped:,} of 2,304 visual tokens" in done_board(comparison, None).sentence


def test_without_a_truth_nothing_is_said_about_right_and_wrong():
    board = done_board(compared(), None)
    assert board.truth == "" and board.original.mark == "" and board.pruned.mark == ""


def test_what_speaks_against_an_answer_is_on_its_card():
    board = done_board(compared(), None, doubts=("", "Unsure."))
    assert (board.original.doubt, board.pruned.doubt) == ("", "Unsure.")


@pytest.mark.parametrize(
    ("percent", "prefill", "rounds", "words"),
    [
        (60, (24.0, 15.0), 9, "the first token came 1.6 times faster (1.4 to 1.8)."),
        (60, (15.0, 24.0), 9, "no time was gained: the first token came 1.6 times slower (1.5 to 1.8)."),
        (60, (15.0, 15.0), 9, "the time to the first token shows no measurable difference."),
        (60, (24.0, 15.0), 3, "dropped on the way through the layers."),
        (0, (24.0, 15.0), 9, "Nothing was pruned"),
    ],
)
def test_sentence_does_not_flatter(percent, prefill, rounds, words):
    paired = make_paired(*prefill, rounds=rounds)
    assert words in done_board(compared(percent=percent, prefill=prefill, paired=paired), None).sentence


def test_what_is_being_measured_is_not_shown():
    board = done_board(compared(), None, times=MEASURING)
    rows = [row for row in board.rows if row.pending]
    assert [row.label for row in rows] == ["Prefill", "Per token", "Total time"]
    assert {(row.original, row.pruned, row.ratio, row.word) for row in rows} == {("", "", "", "")}
    assert all(row.original for row in board.rows if row not in rows)


def test_times_that_nobody_measured_are_one_line():
    board = done_board(compared(), None, times=UNMEASURED)
    labels = ["Visual FLOPs", "Total FLOPs", "Times", "KV cache", "Answer tokens"]
    assert [row.label for row in board.rows] == labels
    assert [row.note for row in board.rows if not row.original] == ["press Run to measure them"]


def test_medians_and_pairs_that_disagree_are_called_unsteady_in_row_and_sentence():
    board = done_board(compared(prefill=(149.0, 48.8), paired=make_paired(24.0, 15.0)), None)
    row = next(row for row in board.rows if row.label == "Prefill")
    assert (row.original, row.pruned, row.ratio, row.word) == ("149 ms", "48.8 ms", "–", "unsteady: run again")
    assert board.sentence.endswith("the times to the first token were unsteady.")


def test_times_say_where_and_how_they_were_measured_and_flops_that_they_were_counted():
    about = {row.label: row.about for row in done_board(compared(), None).rows}
    assert "CPU · float32 · 2 threads" in about["Prefill"] and "warm-up" in about["Prefill"]
    assert "Original 21.7 ms to 26.5 ms, pruned 13.5 ms to 16.5 ms in 9 rounds" in about["Prefill"]
    assert "Counted" in about["Visual FLOPs"] and "2 FLOPs per multiply-add" in about["Total FLOPs"]


def test_an_answer_of_one_token_has_no_time_per_token():
    comparison = compared()
    runs = [dataclasses.replace(run, per_token_ms=None) for run in (comparison.original, comparison.pruned)]
    paired = {**comparison.paired, "per_token": None}
    board = done_board(dataclasses.replace(comparison, original=runs[0], pruned=runs[1], paired=paired), None)
    row = next(row for row in board.rows if row.label == "Per token")
    assert (row.original, row.pruned, row.ratio) == ("–", "–", "–")


def test_whole_times_of_answers_that_differ_in_length_have_no_ratio():
    comparison = compared()
    longer = dataclasses.replace(comparison.original, new_tokens=comparison.pruned.new_tokens + 1)

    def total_time(original):
        rows = done_board(dataclasses.replace(comparison, original=original), None).rows
        return next((row.ratio, row.word) for row in rows if row.label == "Total time")

    assert total_time(longer) == ("–", "other length")
    assert total_time(dataclasses.replace(longer, new_tokens=comparison.pruned.new_tokens))[1] != "other length"


@pytest.mark.parametrize("size", [(480, 480), (960, 480), (300, 900), (1000, 100), (1, 1)])
def test_trace_keeps_the_geometry_of_the_original_picture(size):
    comparison = compared(size=size)
    trace = trace_of(comparison, Image.new("RGB", size), GEOMETRY)
    assert (trace.width, trace.height) == size
    assert trace.seen == [round(value, 2) for value in comparison.layout.seen]
    assert len(trace.boxes) == len(trace.dropped_after) == len(trace.rank) == TOKENS
    left, top, right, bottom = trace.seen
    assert all(left <= x0 < x1 <= right and top <= y0 < y1 <= bottom for x0, y0, x1, y1 in trace.boxes) or size == (
        1,
        1,
    )
    assert trace.image.startswith("data:image/jpeg;base64,")


def test_trace_counts_agree_with_the_tokens_it_marks():
    trace = trace_of(compared(), Image.new("RGB", (480, 480)), GEOMETRY)
    for layer, left in enumerate(trace.tokens):
        assert left == sum(dropped > layer for dropped in trace.dropped_after)
    assert sum(trace.pruned_gflops) == pytest.approx(compared().pruned.visual_gflops, rel=1e-4)
