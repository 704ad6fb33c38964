"""What the events of all pages have in common."""

from __future__ import annotations

from typing import Any

# An event of a page: no spinner over what it writes to, and no endpoint.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# One that is answered without waiting for others.
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
# Budgets in percent that pages offer or show at first.
BUDGETS = (20, 40, 60, 80, 90)
# Seconds between two looks at a run in the background.
LOOK = 1.0
