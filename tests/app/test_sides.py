"""The two sides of a comparison: in words, in an address, on the board, and back from a saved comparison."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

import pytest
from PIL import Image

from app.asking.asked import Asked
from app.asking.sides import Sides, about, original_and, sides_asked, sides_of
from app.engine import Side
from app.parts.sides import Chosen
from app.showing.differing import differing, pieces_of
from app.showing.presentation import done_board, running_board, trace_of
from fitprune_core import METHODS
from fitprune_core.pruning.paint import Paint
from fitprune_core.run.results import Pruning
from tests.app.fake_engine import FakeEngine, make_comparison

SIDES = [
    Sides(),
    Sides("random:seed=3", "fitprune"),
    Sides("fitprune", "original", 40),
    Sides("fitprune:schedule=one-shot@3", "fastv:layer=3", 0),
]


def test_an_address_may_have_a_part_of_a_percent():
    assert sides_asked({"left": "random", "left_budget": "33.3"}).left_percent == 33.3


@pytest.mark.parametrize("sides", SIDES)
def test_an_address_and_the_controls_lead_back_to_the_sides(sides):
    assert sides_asked(dict(parse_qsl(urlencode(sides.asked())))) == sides
    assert Chosen.of(sides).sides() == sides


def test_the_usual_sides_leave_an_address_alone():
    assert Sides().asked() == {} and Sides("original", "fitprune", 20).key == Sides().key


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"left": "guess"}, "guess"),
        ({"right": "random:size=3"}, "no option"),
        ({"left": "random", "left_budget": "95"}, "from 0 to 90"),
        ({"left": "random", "left_budget": "1e3"}, "from 0 to 90"),
        ({"left": "random", "left_budget": "nan"}, "from 0 to 90"),
        ({"left": "random", "left_budget": "-1"}, "from 0 to 90"),
        ({"left": "random:seed=-1"}, "seed"),
        ({"right": "x" * 100_000}, "200 characters"),
    ],
)
def test_what_an_address_cannot_ask_for_is_told(asked, words):
    with pytest.raises(ValueError, match=words):
        sides_asked(asked)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_sentence(method):
    assert about(method).endswith(".") and 30 < len(about(method)) < 260 and "`" not in about(method)
    assert {kind.name: kind.about for kind in Chosen.of(Sides()).kinds}[method] == about(method)


def test_what_may_be_typed_says_what_is_meant_where_nothing_is():
    kinds = {kind.name: kind.options for kind in Chosen.of(Sides()).kinds}
    assert kinds["fastv"] == "layer=2, as in its paper" and kinds["fitprune+"] == "layer=half of all"
    assert kinds["random"] == "seed=0, schedule=recipe" and not any("None" in options for options in kinds.values())


def compared(
    first: str | None, second="fitprune", answers=("a red car", "a blue car"), percent=60.0, first_percent=60.0
):
    engine = FakeEngine()
    found = make_comparison((96, 96), "What?", engine.recipe_for(percent), answers)
    if first is None:
        return replace(found, method=second)
    other = make_comparison((96, 96), "What?", engine.recipe_for(first_percent), answers)
    against = Pruning(**{name: getattr(other, name) for name in Pruning.__dataclass_fields__} | {"method": first})
    return replace(found, method=second, against=against)


def test_the_sides_of_a_comparison_are_found_again():
    assert sides_of(*parts(compared(None))) == Sides()
    assert sides_of(*parts(compared("random(seed=3)", "fastv"))) == Sides("random:seed=3", "fastv")
    assert sides_of(*parts(compared("fitprune", first_percent=40.0))) == Sides("fitprune", "fitprune", 40)
    with pytest.raises(ValueError, match="their-own"):
        sides_of(*parts(compared(None, "their-own")))


@pytest.mark.parametrize(
    ("label", "right"), [("random(seed=1)", "random:seed=1"), ("fastv", "fastv"), ("original", "fitprune")]
)
def test_a_row_of_results_is_opened_beside_the_original(label, right):
    assert original_and(label) == Sides("original", right)


def parts(comparison):
    return comparison.against, comparison


def test_the_board_names_both_sides():
    board = done_board(compared("random(seed=3)", first_percent=40.0), "a red car", sides=Sides("random:seed=3"))
    assert [(card.name, card.percent) for card in (board.original, board.pruned)] == [
        ("Random(seed=3)", 40.0),
        ("FitPrune", 60.0),
    ]
    assert board.truth == "Only Random(seed=3) is right: it is “a red car”." and "on the left" in board.sentence
    running = running_board(None, 60, Sides("fitprune", "original", 40))
    assert [(card.name, card.percent) for card in (running.original, running.pruned)] == [
        ("FitPrune", 40),
        ("Original", None),
    ]


def test_with_the_original_on_the_right_the_budget_is_the_left_ones():
    found = replace(compared("random(seed=0)", "original", percent=0.0, first_percent=80.0))
    assert done_board(found, None).percent == 80 and done_board(found, None, percent=40).percent == 40
    assert done_board(compared("random(seed=0)", first_percent=40.0), None).percent == 60


def test_the_left_side_has_the_right_ones_budget_unless_it_has_its_own():
    assert Sides("random").against(60) == Side("random", 60)
    assert Sides("random", left_percent=20).against(60) == Side("random", 20)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("a red car", "a blue car", ["red"]),
        ("A red car.", "a red car", []),
        ("two", "two cars", []),
        ("two cars here", "two", ["cars", "here"]),
        ("", "two", []),
        ("the cat, and the dog", "the dog", ["the", "cat,", "and"]),
    ],
)
def test_words_that_differ_are_marked(one, other, apart):
    pieces = pieces_of(replace(compared(None).original, answer=one, pieces=(), token_ids=()))
    marks = differing(pieces, one, other)
    assert "".join(pieces) == one
    assert [piece.strip() for piece, mark in zip(pieces, marks, strict=True) if mark] == apart


def test_every_piece_of_a_word_that_differs_is_marked():
    pieces = ["a", " re", "d", " car", ""]
    run = replace(compared(None).original, answer="a red car", pieces=tuple(pieces), token_ids=(1, 2, 3, 4, 5))
    assert pieces_of(run) == pieces
    assert differing(pieces, "a red car", "a blue car") == [False, True, True, False, False]


def test_pieces_of_another_text_are_not_shown():
    run = replace(compared(None).original, answer="<b>nobody</b> here")
    assert pieces_of(run) == ["<b>nobody</b>", " here"]


MINE = FakeEngine().recipe_for(40)


def test_a_visitors_recipe_is_a_side_and_no_address_tells_of_it():
    sides = Sides("fitprune", "a: mine", 20, {"a: mine": MINE})
    assert Chosen.of(sides, sides.own).sides(sides.own) == sides
    assert sides.pruned(60) == Side("fitprune", 60, recipe=MINE) and sides.against(60) == Side("fitprune", 20)
    asked = Asked(None, "What?", 60, None, sides, Paint((1,)))
    assert asked.ways()["recipe"] == MINE and asked.ways()["paint"] == Paint((1,))
    assert replace(asked, paint=Paint(), seed=2**40 + 5).link(()) == ""
    assert replace(asked, paint=Paint(), seed=2**40 + 5, sides=Sides()).link(()) != ""


def test_only_recipes_that_are_sides_are_held():
    own = {"mine": MINE, "another": MINE}
    assert set(Chosen.of(Sides("mine", own=own), own).sides(own).own) == {"mine"}
    assert Chosen.of(Sides(), own).sides(own) == Sides() and not Chosen.of(Sides(), own).sides(own).own


def test_a_recipe_that_is_not_kept_any_more_is_told():
    chosen = Chosen.of(Sides(right="mine", own={"mine": MINE}), {"mine": MINE})
    with pytest.raises(ValueError, match="'mine' is not kept any more"):
        chosen.sides()
    with pytest.raises(ValueError, match="mine"):
        Chosen(right="mine").sides()


def test_the_board_names_a_visitors_recipe():
    sides = Sides("mine", "fitprune", own={"mine": MINE})
    found = compared("fitprune", first_percent=40.0)
    for board in (done_board(found, None, sides=sides), running_board(None, 60, sides)):
        assert [(card.name, card.percent) for card in (board.original, board.pruned)] == [
            ("mine", 40),
            ("FitPrune", 60),
        ]
    picture = Image.new("RGB", (96, 96))
    trace = trace_of(found, picture, FakeEngine().geometry, sides)
    assert (trace.against.name, trace.name) == ("mine", "FitPrune 60 %")
    assert trace_of(found, picture, FakeEngine().geometry, Sides(right="mine", own={"mine": MINE})).name == "mine"
