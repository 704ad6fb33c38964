"""How often somebody may ask: requests within a minute, of one visitor and of all that come from one address."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from app.settings import DEFAULTS, Limits

WINDOW = 60.0  # seconds


@dataclass(frozen=True)
class Asker:
    """Who asks: the session of a browser or a client, and where it comes from; "" where it is not known."""

    visitor: str = ""
    address: str = ""


class Allowance:
    """Counts the requests of the last minute. Its methods may be called from any thread.

    Visitors are told apart by session id, which a browser invents; inventing many leaves only the limit per address.
    """

    def __init__(self, limits: Limits = DEFAULTS, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._taken: deque[tuple[float, tuple[str, str], tuple[str, str]]] = deque()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def take(self, visitor: str, address: str) -> None:
        """Count a request of a visitor from an address; either is "" where it is not known, and is not bound then.

        Raises ValueError, which names the limit and says when to ask again; such a request is not counted.
        """
        mine, ours = ("visitor", visitor), ("address", address)
        of_visitor, of_address = self.limits.max_requests, self.limits.max_requests_per_address
        with self._lock:
            now = self._forget()
            if visitor and self._counts[mine] >= of_visitor:
                most = f"You sent {of_visitor:,} requests within a minute, as many as a visitor may"
                raise ValueError(f"{most}; {self._when(mine, now)}")
            if address and self._counts[ours] >= of_address:
                most = f"From your address came {of_address:,} requests within a minute, as many as one may send"
                raise ValueError(f"{most}; {self._when(ours, now)}")
            self._taken.append((now, mine, ours))
            self._counts[mine] += 1
            self._counts[ours] += 1

    def has_asked(self, visitor: str) -> bool:
        """Whether a visitor had a request counted within the last minute."""
        with self._lock:
            self._forget()
            return self._counts["visitor", visitor] > 0

    def _forget(self) -> float:
        """Forget what is a minute old; returns the time."""
        now = self._clock()
        while self._taken and self._taken[0][0] <= now - WINDOW:
            for key in self._taken.popleft()[1:]:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]
        return now

    def _when(self, key: tuple[str, str], now: float) -> str:
        oldest = next(when for when, *keys in self._taken if key in keys)
        return f"try again in {max(round(oldest + WINDOW - now), 1)} s."
