"""What the events of all pages have in common."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.door.guard import NOT_OURS
from app.parts.notice import Message
from app.words import sentence

# An event of a page: no spinner over what it writes to, and no endpoint.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# One that is answered without waiting for others.
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
# Budgets in percent that pages offer or show at first.
BUDGETS = (20, 40, 60, 80, 90)
# A file that has one line, see theme.css.
ONE_LINE: dict[str, Any] = {"height": 40, "elem_classes": "one-line"}
# Seconds between two looks at a run in the background.
LOOK = 1.0


def wrong(error: Exception | str) -> Message:
    """What went wrong, as a sentence."""
    return Message(text=sentence(error), kind="error")


def told(event: gr.EventData, name: str) -> Any:
    """What a browser tells with an event under a name, which may be anything; None where it tells nothing."""
    return event._data.get(name) if isinstance(event._data, dict) else None


def number_or_none(event: gr.EventData, name: str, below: int) -> int | None:
    """A whole number from 0 up that a browser tells with an event; None for anything else, True among it."""
    number = told(event, name)
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    return number if is_whole and 0 <= number < below else None


def told_number(event: gr.EventData, name: str, below: int) -> int:
    """As `number_or_none`, but raises gr.Error where there is none."""
    number = number_or_none(event, name, below)
    if number is None:
        raise gr.Error(NOT_OURS, print_exception=False)
    return number
