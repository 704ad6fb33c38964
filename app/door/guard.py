"""Blocks whose events answer whatever they are sent with what is right or with a sentence."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError

from app.door.uploads import Refused, check_values
from app.settings import Limits
from app.words import sentence

NOT_OURS = "What was sent is not what this page sends."
UNFORESEEN = "This failed: what was sent is not what this page sends, or the app has a fault, which its log tells."

logger = logging.getLogger(__name__)


class _Nothing(dict):
    """Takes what it is given, and keeps nothing."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: Any) -> dict[str, Any]:
        return {}

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class Guarded(gr.Blocks):
    """Blocks whose events, on every page and over the API, take no file but what came in through the door.

    What a component cannot read, and what no handler foresaw, ends in a sentence: Gradio would say nothing. And Gradio
    would keep the last values of all components of each of its last sessions, for links that this app does not have: a
    picture of every caller.
    """

    def __init__(self, limits: Limits, **options: Any) -> None:
        self.limits = limits
        super().__init__(**options)

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, *arguments: Any, **options: Any
    ) -> list[Any]:
        """As Gradio's. Raises `Refused` before Gradio opens, copies or fetches anything, and gr.Error for the rest.

        What a caller of an endpoint leaves out at the end is what its component begins with, as for a client, which
        looks it up: so an endpoint may be given more inputs without breaking those who call it.
        """
        if block_fn.api_name and block_fn.api_visibility == "public":
            inputs = [*inputs, *(each.value for each in block_fn.inputs[len(inputs) :])]
        check_values(inputs, self.limits)
        if state is not None:
            state.config_values = _Nothing()
        try:
            return await super().preprocess_data(block_fn, inputs, state, *arguments, **options)
        except InvalidPathError as error:
            raise Refused(self.limits) from error
        except gr.Error as error:
            raise gr.Error(sentence(error.message), print_exception=False) from error
        except Exception as error:
            raise gr.Error(NOT_OURS, print_exception=False) from error

    async def call_function(
        self,
        block_fn: Any,
        processed_input: list[Any],
        iterator: Any = None,
        requests: Any = None,
        event_id: str | None = None,
        event_data: gr.EventData | None = None,
        *arguments: Any,
        **options: Any,
    ) -> Any:
        """As Gradio's. Raises `Refused` for files that a browser tells of with an event, and gr.Error for what no
        handler foresaw, which is noted in the log.
        """
        if event_data is not None:
            check_values(event_data._data, self.limits)
        given = (block_fn, processed_input, iterator, requests, event_id, event_data, *arguments)
        try:
            return await super().call_function(*given, **options)
        except gr.Error:
            raise
        except Exception as error:
            logger.exception("an event failed")
            raise gr.Error(UNFORESEEN, print_exception=False) from error
