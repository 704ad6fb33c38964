"""The line before the model: first come, first served, one place a visitor, and the wait that may be expected."""

from __future__ import annotations

import random

import pytest

from app.settings import Limits
from app.visitors.line import Line


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(line, places):
    return [line.ahead(place) for place in places]


def test_first_come_first_served():
    line = Line()
    places = [line.join(name) for name in "abc"]
    assert waiting(line, places) == [0, 1, 2]
    line.leave(places[0])
    assert waiting(line, places[1:]) == [0, 1]


def test_a_visitor_who_waits_and_asks_anew_keeps_his_place_and_has_no_other():
    line = Line()
    first, mine, last = (line.join(name) for name in ("first", "me", "last"))
    again = line.join("me")
    assert mine.is_over() and mine.is_replaced and not again.is_over()
    assert waiting(line, [first, again, last]) == [0, 1, 2]
    line.leave(mine)
    assert waiting(line, [first, again, last]) == [0, 1, 2]


def test_a_visitor_who_runs_and_asks_anew_waits_behind_all_others():
    line = Line()
    mine, other = line.join("me"), line.join("other")
    again, once_more = line.join("me"), line.join("me")
    assert mine.is_over() and again.is_over()
    assert waiting(line, [mine, other, once_more]) == [0, 1, 2]
    line.leave(mine)
    assert waiting(line, [other, once_more]) == [0, 1]


def test_what_ended_is_before_others_but_takes_no_turn():
    clock = Clock()
    line = Line(clock=clock)
    early = line.join("early")
    clock.now += 6
    line.leave(early)
    mine = line.join("me")
    again, other = line.join("me"), line.join("other")
    assert mine.is_over() and line.ahead(again) == 1 and line.before(again) == [mine]
    assert [line.expected(place) for place in (again, other)] == [0, 6]
    line.leave(mine)
    assert line.before(again) == [] and line.ahead(again) == 0 and line.before(mine) == []


@pytest.mark.parametrize("seed", range(20))
def test_nobody_ever_holds_two_places(seed):
    """Whatever visitors do: one place each that is not over, one at the model, and a line no longer than allowed."""
    rng, line = random.Random(seed), Line(Limits(max_waiting=4, max_requests=1_000))
    held: list = []
    for _ in range(300):
        who = rng.choice("abcdefgh")
        act = rng.random()
        if act < 0.6:
            try:
                held.append(line.join(who))
            except ValueError:
                assert sum(line.ahead(place) > 0 for place in held) >= 4
        elif act < 0.7:
            line.end(who)
        elif held:
            line.leave(held.pop(rng.randrange(len(held))))
        alive = [place for place in held if not place.is_over()]
        assert len({place.visitor for place in alive}) == len(alive)
        positions = [line.ahead(place) for place in alive]
        assert len(set(positions)) == len(positions) and max(positions, default=0) <= 4 + 1


def test_the_line_has_an_end_also_for_one_address():
    line = Line(Limits(max_waiting=3, max_waiting_per_address=2))
    line.join("a", "home")
    line.join("b", "home"), line.join("c", "home")
    with pytest.raises(
        ValueError, match="2 visitors from your address are waiting for the model already, as many as may"
    ):
        line.join("d", "home")
    line.join("e", "elsewhere")
    with pytest.raises(ValueError, match="3 visitors are waiting for the model already, as many as may"):
        line.join("f", "far away")
    assert not line.join("e", "elsewhere").is_over()


def test_the_expected_wait_is_that_of_turns_before():
    clock = Clock()
    line = Line(clock=clock)
    for seconds in (4.0, 6.0):
        place = line.join("early")
        clock.now += seconds
        line.leave(place)
    a, b, c = (line.join(name) for name in "abc")
    assert [line.expected(place) for place in (a, b, c)] == [0, 5, 10]
    clock.now += 2
    assert [line.expected(place) for place in (b, c)] == [3, 8]
    clock.now += 60  # a turn that takes longer than turns do
    assert [line.expected(place) for place in (b, c)] == [0, 5]


def test_turns_that_were_stopped_say_nothing_about_the_wait():
    clock = Clock()
    line = Line(clock=clock)
    place = line.join("a")
    clock.now += 100
    line.end("a")
    line.leave(place)
    assert line.expected(line.join("b")) is None


def test_nothing_is_kept_of_those_who_left():
    line = Line()
    for number in range(1000):
        line.leave(line.join(str(number)))
    assert line._places == [] and len(line._durations) <= 20
