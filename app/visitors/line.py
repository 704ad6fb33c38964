"""The line before the model: first come, first served, and one place a visitor."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean

from app.settings import DEFAULTS, Limits
from app.visitors.allowance import Allowance

# How many turns the expected wait is reckoned from.
_REMEMBERED = 20


class Place:
    """A visitor's place in the line, and in front of the model once it is first. It can be ended from any thread."""

    def __init__(self, visitor: str, address: str) -> None:
        self.visitor, self.address = visitor, address
        self.began: float | None = None  # when it became first
        self._end = threading.Event()
        self.told = threading.Event()  # set once nothing more is told of it, see `Line.telling`
        self.is_replaced = False

    def end(self) -> None:
        """Whoever works for this place is to stop, and whoever waits in it to go."""
        self._end.set()

    def is_over(self) -> bool:
        """Whether it was ended."""
        return self._end.is_set()


class Line:
    """Who waits for a model, and who has it: the first. Its methods may be called from any thread."""

    def __init__(self, limits: Limits = DEFAULTS, clock: Callable[[], float] = time.monotonic) -> None:
        """limits: among them how many may wait, in all and from one address, so that no machine can fill the line.
        clock: the time in seconds.
        """
        self.limits, self.allowance, self._clock = limits, Allowance(limits, clock), clock
        self._places: list[Place] = []
        self._telling: list[Place] = []  # also those whose work is done, as long as somebody is still told of it
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def join(self, visitor: str, address: str = "") -> Place:
        """A place for a visitor, who comes from an address, "" where that is not known.

        What they had before ends; if they were waiting, the new place is where the old one was. Raises ValueError,
        which names the limit, when too many wait, or they asked too often.
        """
        self.allowance.take(visitor, address)
        place = Place(visitor, address)
        with self._lock:
            at = self._end_others(visitor)
            if at is not None:
                self._places[at] = place
            else:
                self._check_room(address)
                self._places.append(place)
            self._begin_first()
        return place

    def _end_others(self, visitor: str) -> int | None:
        """End what a visitor has; returns where they wait, if they do."""
        waiting = None
        for at, other in enumerate(self._places):
            if other.visitor == visitor:
                other.is_replaced = True
                other.end()
                waiting = at or None
        return waiting

    def _check_room(self, address: str) -> None:
        waiting = self._places[1:]
        of_address = sum(place.address == address != "" for place in waiting)
        check_room(len(waiting), of_address, self.limits, "visitors")

    def end(self, visitor: str, *, replaced: bool = False) -> None:
        """End what a visitor has, waiting or running: they stopped it, left, or (`replaced`) have other plans."""
        with self._lock:
            for place in self._places:
                if place.visitor == visitor:
                    place.is_replaced |= replaced
                    place.end()

    @contextmanager
    def telling(self, place: Place) -> Iterator[None]:
        """While the block lasts somebody is told what becomes of a place."""
        with self._lock:
            self._telling.append(place)
        try:
            yield
        finally:
            with self._lock:
                self._telling.remove(place)
            place.told.set()

    def wait_until_told(self, visitor: str, seconds: float) -> None:
        """Wait until nothing more is told of what a visitor had, which was ended; not on a thread that tells it."""
        with self._lock:
            mine = [place for place in self._telling if place.visitor == visitor]
        until = time.monotonic() + seconds
        for place in mine:
            place.told.wait(max(until - time.monotonic(), 0.0))

    def leave(self, place: Place) -> None:
        """Give a place up: nobody waits in it or works for it any more. A second time it does nothing."""
        with self._lock:
            if place in self._places:
                self._places.remove(place)
                if place.began is not None and not place.is_over():
                    self._durations.append(self._clock() - place.began)
            self._begin_first()

    def ahead(self, place: Place) -> int:
        """How many are before a place: 0 when it is its turn."""
        with self._lock:
            return self._places.index(place) if place in self._places else 0

    def before(self, place: Place) -> list[Place]:
        """The places before one; also those that ended, whose work has not stopped yet."""
        with self._lock:
            return self._places[: self._places.index(place)] if place in self._places else []

    def expected(self, place: Place) -> float | None:
        """Seconds until the turn of a place, if turns take as long as they did; None before there was one.

        What ended takes no time any more.
        """
        with self._lock:
            if not self._durations or place not in self._places:
                return None
            mean, first, at = fmean(self._durations), self._places[0], self._places.index(place)
            turns = sum(not other.is_over() for other in self._places[:at])
            passed = self._clock() - first.began if first.began is not None and not first.is_over() else 0.0
            return max(turns * mean - min(passed, mean), 0.0)

    def check_time(self, place: Place) -> None:
        """Raise ValueError, which names the limit, once a place has had the model for as long as a request may."""
        most = self.limits.max_seconds
        if place.began is not None and self._clock() - place.began > most:
            raise ValueError(f"This took longer than {most:,} s, the most that a request may take here; it was ended.")

    def _begin_first(self) -> None:
        if self._places and self._places[0].began is None:
            self._places[0].began = self._clock()


def check_room(waiting: int, of_address: int, limits: Limits, who: str) -> None:
    """Raise ValueError, which names the limit, where as many wait as may, in all or of one address."""
    if waiting >= limits.max_waiting:
        raise ValueError(f"{waiting} {who} are waiting for the model already, as many as may. Try again in a minute.")
    if of_address >= limits.max_waiting_per_address:
        from_yours = f"{of_address} {who} from your address are waiting for the model already, as many as may"
        raise ValueError(f"{from_yours}. Try again in a minute.")
