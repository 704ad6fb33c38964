"""What a page offers to choose methods by: the most wanted at once, the rest and their options behind a click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

_WANTED = ("fitprune", "fitprune+", "fastv", "random")
# What each goes by, in a few words beside its box; About says the rest.
_GLOSSES = {
    "fitprune": "picture's and text's attention",
    "fitprune+": "varied first, then attended",
    "fastv": "last word's attention, early",
    "random": "in a random order",
    "self-only": "picture's attention alone",
    "cross-only": "text's attention alone",
    "last-token": "last word's attention",
    "uniform": "evenly spaced patches",
    "pyramiddrop": "last word's attention, in stages",
    "divprune": "patches most unlike each other",
    "visionzip-dominant": "the tower's own attention",
}


@dataclass(frozen=True)
class MethodFields:
    """The boxes of the most wanted methods, those of the others, and a line for methods with options, as `methods_of`
    reads it."""

    first: gr.CheckboxGroup
    others: gr.CheckboxGroup
    more: gr.Textbox


def method_fields(offered: Sequence[str], ticked: Sequence[str], elem_id: str) -> MethodFields:
    """Lay out the fields for the methods that are offered. elem_id: of the first boxes; the others' begin so."""
    wanted = [method for method in _WANTED if method in offered] or list(offered[:1])
    others = [method for method in offered if method not in wanted]
    first = gr.CheckboxGroup(
        list(map(_choice, wanted)),
        value=[method for method in ticked if method in wanted] or wanted[:1],
        label="Methods",
        elem_id=elem_id,
        elem_classes="methods",
    )
    with gr.Accordion("More methods", open=False, elem_id=f"{elem_id}-more"):
        rest = gr.CheckboxGroup(
            list(map(_choice, others)),
            value=[],
            show_label=False,
            label="More methods",
            visible=bool(others),
            elem_id=f"{elem_id}-others",
            elem_classes="methods",
        )
        more = gr.Textbox(
            value="",  # None otherwise, as long as nobody opens the accordion
            label="Methods with options",
            show_label=False,
            placeholder="with options: fastv:layer=1",
            max_length=200,
            lines=1,
            elem_classes="more-methods",
        )
    return MethodFields(first, rest, more)


def _choice(method: str) -> tuple[str, str]:
    """What a box says, and its value."""
    gloss = _GLOSSES.get(method)
    return (f"{method}: {gloss}" if gloss else method), method
