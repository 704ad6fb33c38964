"""What a visitor's session keeps of the comparison that he sees, so that it can be saved and remembered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fitprune_core.report.export import exported


@dataclass(frozen=True, eq=False)
class Export:
    """The text of an exported comparison: a fraction of what its object takes in memory.

    Each is equal to itself alone. At every step of an event Gradio takes the hash of what a state holds that somebody
    listens to, before and after, on the loop that serves everybody; of this it takes the identity, of an object it
    would go through each of its tens of thousands of numbers.
    """

    text: str

    @classmethod
    def of(cls, entries: dict[str, Any]) -> Export:
        """Of an object as `fitprune_core.report.export.to_entries` makes it."""
        return cls(exported(entries, ".json").decode())

    def entries(self) -> dict[str, Any]:
        """That object again."""
        return json.loads(self.text)
