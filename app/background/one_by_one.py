"""Work for the background, one thing at a time, on a thread that is there only while there is some."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class OneByOne(Generic[T]):
    """Does things in the order in which they came. Its methods may be called from any thread."""

    def __init__(self, do: Callable[[T], None]) -> None:
        self._do = do
        self._waiting: deque[T] = deque()
        self._is_working = False
        self._lock = threading.Lock()

    def add(self, item: T) -> None:
        """Do this when its turn comes. Raises RuntimeError where no thread can begin."""
        with self._lock:
            if not self._is_working:
                threading.Thread(target=self._work, name="one by one", daemon=True).start()  # it waits for the lock
                self._is_working = True
            self._waiting.append(item)

    def withdraw(self, item: T) -> bool:
        """Leave out what waits. Returns whether it did: what is begun, or over, does not."""
        with self._lock:
            found = next((at for at, each in enumerate(self._waiting) if each is item), None)
            if found is not None:
                del self._waiting[found]
            return found is not None

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_working = False
                    return
                item = self._waiting.popleft()
            try:
                self._do(item)
            except Exception:  # the next one is not to wait for ever
                logger.exception("something in the background failed")
