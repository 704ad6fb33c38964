"""Blocks whose events answer whatever they are sent with what is right or with a sentence."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr

from app.settings import Limits
from app.uploads import check_values

NOT_OURS = "What was sent is not what this page sends."
UNFORESEEN = "This failed: what was sent is not what this page sends, or the app has a fault, which its log tells."

logger = logging.getLogger(__name__)


class Guarded(gr.Blocks):
    """Blocks whose events, on every page and over the API, take no file but what came in through the door.

    What a component cannot read, and what no handler foresaw, ends in a sentence: Gradio would say nothing.
    """

    def __init__(self, limits: Limits, **options: Any) -> None:
        self.limits = limits
        super().__init__(**options)

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *arguments: Any, **options: Any) -> list[Any]:
        """As Gradio's. Raises `Refused` before Gradio opens, copies or fetches anything, and gr.Error for the rest."""
        check_values(inputs, self.limits)
        try:
            return await super().preprocess_data(block_fn, inputs, *arguments, **options)
        except gr.Error as error:
            raise gr.Error(error.message, print_exception=False) from error
        except Exception as error:
            raise gr.Error(NOT_OURS, print_exception=False) from error

    async def call_function(self, *arguments: Any, **options: Any) -> Any:
        """As Gradio's. Raises gr.Error for what no handler foresaw, and notes it in the log."""
        try:
            return await super().call_function(*arguments, **options)
        except gr.Error:
            raise
        except Exception as error:
            logger.exception("an event failed")
            raise gr.Error(UNFORESEEN, print_exception=False) from error
