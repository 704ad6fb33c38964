"""What visitors' sessions keep of the comparisons that they see, so that these can be saved and remembered."""

from __future__ import annotations

import json
import threading
import weakref
from dataclasses import dataclass
from typing import Any

from fitprune_core.report.export import exported


@dataclass(eq=False)
class Export:
    """An exported comparison as bytes: a fraction of what its object takes in memory. None once it was let go.

    Each is equal to itself alone. At every step of an event Gradio takes the hash of what a state holds that somebody
    listens to, before and after, on the loop that serves everybody; of this it takes the identity, of an object it
    would go through each of its tens of thousands of numbers.
    """

    data: bytes | None

    @property
    def text(self) -> str:
        """The comparison as JSON. Raises ValueError, in words, once it was let go."""
        data = self.data
        if data is None:
            raise ValueError("the server had to make room, and does not keep it any more; run it again")
        return data.decode()

    def entries(self) -> dict[str, Any]:
        """The object that it was made of. Raises as `text` does."""
        return json.loads(self.text)


class Exports:
    """The exports of all sessions, bounded in total: the oldest are let go. Its methods may be called from any thread.

    An export goes with the session that holds it; this only knows those that are still held.
    """

    def __init__(self, most: int) -> None:
        """most: bytes of all together; the newest alone may have more."""
        self.most = most
        self._held: list[weakref.ref[Export]] = []  # the oldest first
        self._lock = threading.Lock()

    def keep(self, entries: dict[str, Any]) -> Export:
        """An export of an object as `fitprune_core.report.export.to_entries` makes it."""
        export = Export(exported(entries, ".json"))
        with self._lock:
            self._held.append(weakref.ref(export))
            self._make_room()
        return export

    def _make_room(self) -> None:
        found: list[weakref.ref[Export]] = []
        size = 0
        for ref in reversed(self._held):  # the newest first
            export = ref()
            if export is None or export.data is None:
                continue
            size += len(export.data)
            if found and size > self.most:
                export.data = None
            else:
                found.append(ref)
        self._held = found[::-1]
