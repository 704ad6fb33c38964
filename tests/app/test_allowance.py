"""How often somebody may ask: at most so many requests within any minute, of one visitor and of one address."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from app.settings import Limits
from app.visitors.allowance import WINDOW, Allowance
from app.visitors.visits import address_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_visitor_is_refused_by_a_sentence_that_names_the_limit_and_let_in_again():
    clock = Clock()
    allowance = Allowance(Limits(max_requests=2), clock)
    allowance.take("me", "here")
    clock.now = 20.0
    allowance.take("me", "here")
    with pytest.raises(ValueError, match="2 requests within a minute, as many as a visitor may; try again in 40 s"):
        allowance.take("me", "here")
    allowance.take("you", "here")
    clock.now = 60.0
    allowance.take("me", "here")
    with pytest.raises(ValueError, match="in 20 s"):
        allowance.take("me", "here")
    assert allowance.has_asked("me") and allowance.has_asked("you") and not allowance.has_asked("nobody")
    clock.now = 121.0
    assert not allowance.has_asked("me")


def test_names_that_are_made_up_are_bound_by_their_address():
    allowance = Allowance(Limits(max_requests_per_address=5), Clock())
    for number in range(5):
        allowance.take(str(number), "here")
    with pytest.raises(ValueError, match="From your address came 5 requests within a minute"):
        allowance.take("one more", "here")
    allowance.take("one more", "elsewhere")
    for number in range(10):
        allowance.take(str(number), "")  # where nobody knows the address


@pytest.mark.parametrize("seed", range(10))
def test_no_minute_holds_more_than_may_be(seed):
    """Against a count of its own: what is taken, and when, and nothing is remembered longer than it counts."""
    rng, clock = random.Random(seed), Clock()
    allowance, taken = Allowance(Limits(max_requests=3, max_requests_per_address=7), clock), []
    for _ in range(400):
        clock.now += rng.expovariate(0.5)
        visitor, address = rng.choice("abcd"), rng.choice("xy")
        recent = [one for one in taken if one[0] > clock.now - WINDOW]
        may = sum(one[1] == visitor for one in recent) < 3 and sum(one[2] == address for one in recent) < 7
        try:
            allowance.take(visitor, address)
            assert may
            taken.append((clock.now, visitor, address))
        except ValueError:
            assert not may
    assert len(allowance._taken) <= 12 and sum(allowance._counts.values()) == 2 * len(allowance._taken)


@pytest.mark.parametrize(
    ("host", "known_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("unix socket", "unix socket"),
        (None, ""),
    ],
)
def test_an_owner_of_many_addresses_has_one(host, known_as):
    assert address_of(SimpleNamespace(client=SimpleNamespace(host=host))) == known_as
