"""The buttons above the results: open, save, what was compared before, and a presentation."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.parts.history import History
from app.parts.presenter import Presenter
from app.parts.saver import Saver
from fitprune_core.report.reading import ENDINGS


@dataclass(frozen=True)
class Tools:
    """The components that events listen to; a presentation lives in the browser alone."""

    opened: gr.UploadButton
    saver: Saver
    history: History


def create_tools() -> Tools:
    """The row of them, inside the current Blocks: before the columns, so that keys reach it first."""
    with gr.Row(elem_id="exports"):
        opened = gr.UploadButton("Open a saved comparison", file_types=list(ENDINGS), size="sm", elem_id="opened")
        saver = Saver(elem_id="saver", elem_classes="bare", min_width=0)
        history = History(elem_id="history", elem_classes="bare", min_width=0)
        Presenter(elem_id="presenter", elem_classes="bare", min_width=0)
    return Tools(opened, saver, history)
