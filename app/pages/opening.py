"""The way from a page to Compare: what a visitor clicked there is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr

from app.pages.compare import CLICK_RUN
from app.pages.wiring import AT_ONCE


def opens_compare(
    clicked: Callable[..., Any],
    tabs: gr.Tabs,
    fill: Callable[[Any, gr.EventData], dict],
    held: gr.State,
    filled: Iterable[gr.components.Component],
) -> None:
    """Have an event of a page open Compare and run there. fill: what it is filled with, of what is `held`."""

    def go(held: Any, event: gr.EventData) -> dict:
        return {tabs: gr.Tabs(selected="compare"), **fill(held, event)}

    clicked(go, held, [tabs, *filled], **AT_ONCE).success(None, js=CLICK_RUN)
