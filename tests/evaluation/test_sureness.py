"""What is said of an answer by how sure it is: counts of an evaluation, checked by counting them anew."""

from __future__ import annotations

import dataclasses
import random

import pytest

from fitprune_core.evaluation.outcomes import AskedQuestion, Given, Outcomes, Side
from fitprune_core.evaluation.significance import share_of
from fitprune_core.evaluation.sureness import NEAREST, Sureness, doubt, doubts, sureness_of
from tests.app.fake_engine import FakeEngine, make_comparison

ENGINE = FakeEngine()
LEAD = "Unsure: its least sure token leads the next likeliest by {} points of probability"


def drawn(count: int, seed: int = 0, method: str = "fitprune", reduction: float = 0.6) -> Sureness:
    """Answers that change the likelier the less sure they are, on a coarse scale, so that many are equally sure."""
    rng = random.Random(seed)
    margins = sorted(rng.randrange(101) / 100 for _ in range(count))
    return Sureness(method, reduction, tuple(margins), tuple(rng.random() > margin for margin in margins))


def compared(margin: float | None, percent: float = 60, first: float | None = 0.9):
    found = make_comparison((480, 480), "What is it?", ENGINE.recipe_for(percent), ("a red car", "a blue car"))
    runs = (
        dataclasses.replace(run, margin=each)
        for run, each in zip((found.original, found.pruned), (first, margin), strict=True)
    )
    return dataclasses.replace(found, **dict(zip(("original", "pruned"), runs, strict=True)))


@pytest.mark.parametrize("margin", [0.0, 0.123, 0.5, 0.77, 1.0])
def test_the_nearest_are_counted_and_with_them_all_as_near(margin):
    known = drawn(300)
    pairs = sorted(zip(known.margins, known.changed, strict=True), key=lambda pair: abs(pair[0] - margin))
    reach = abs(pairs[NEAREST - 1][0] - margin)
    mine = [changed for each, changed in pairs if abs(each - margin) <= reach]
    assert len(mine) >= NEAREST
    assert known.near(margin) == share_of(sum(mine), len(mine))


def test_few_answers_say_nothing():
    assert drawn(NEAREST - 1).near(0.5) is None and drawn(NEAREST).near(0.5) is not None


def test_an_evaluation_becomes_pairs_of_how_sure_and_whether_changed():
    original = Side("original", 0.0, (Given("Red.", True, None, 0.9), Given("two", True), Given("a", True), None))
    pruned = (
        Given("red", True, None, 0.7),
        Given("three", False, None, 0.2),
        Given("b", False),
        Given("c", None, None, 0.1),
    )
    found = sureness_of(Outcomes("m", tuple(map(AskedQuestion, "abcd")), (original, Side("random", 0.8, pruned))))
    # The third says not how sure it was, the fourth has no original beside it.
    assert found == (Sureness("random", 0.8, (0.2, 0.7), (True, False)),)


def test_an_unsure_answer_is_called_so_by_the_nearest_budget_of_its_method():
    unsure = Sureness("fitprune", 0.6, (0.3,) * 60, (True,) * 45 + (False,) * 15)
    never = Sureness("fitprune", 0.2, (0.3,) * 60, (False,) * 60)
    always = Sureness("random", 0.6, (0.3,) * 60, (True,) * 60)
    known = (never, unsure, always)
    said = f"{LEAD.format(30)}. Of 60 answers as sure, 45 were not the original's (evaluation, fitprune 60 %)."
    assert doubt(0.3, compared(0.3), known) == said
    assert doubt(0.3, compared(0.3, percent=70), known) == said
    # What is said of another recipe of that budget is said to be.
    own, other = (dataclasses.replace(unsure, recipe=recipe) for recipe in (ENGINE.recipe_for(60).counts, "9 9 of 18"))
    assert doubt(0.3, compared(0.3), [own]) == said and doubt(0.3, compared(0.3, percent=70), [other]) == said
    assert doubt(0.3, compared(0.3), [other]).endswith("(evaluation, fitprune 60 %, another recipe).")
    # As unsure, but such answers did not change at that budget.
    assert doubt(0.3, compared(0.3, percent=20), known) == ""


@pytest.mark.parametrize(("margin", "is_said"), [(0.49, True), (0.5, False), (0.99, False), (None, False)])
def test_without_an_evaluation_the_margin_speaks_alone(margin, is_said):
    said = doubt(margin, compared(margin))
    assert said == (f"{LEAD.format(49)}." if is_said else "")
    assert doubt(margin, compared(margin), [drawn(300, method="random")]) == said


def test_what_a_visitor_painted_is_not_compared_with_an_evaluation():
    painted = dataclasses.replace(compared(0.3), stay=(1, 2))
    always = Sureness("fitprune", 0.6, (0.3,) * 60, (True,) * 60)
    assert doubt(0.3, painted, [always]) == f"{LEAD.format(30)}."


def test_nothing_speaks_against_an_answer_that_nothing_was_pruned_for():
    assert doubts(compared(0.1, percent=0, first=0.1)) == ("", "")
    # The first side is doubted only where it prunes, too.
    both = dataclasses.replace(compared(0.1, first=0.2), against=compared(0.1))
    assert doubts(compared(0.1, first=0.2)) == ("", f"{LEAD.format(10)}.")
    assert all(said.startswith("Unsure") for said in doubts(both))
