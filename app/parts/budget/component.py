"""What a budget will do, for every budget at once: moving the slider asks the server nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradio.data_classes import GradioModel

from app.engine import Preview
from app.parts.component import BrowserComponent


class Plans(GradioModel):
    """Entry p of each list belongs to p percent: `tokens` left after each layer, `saving` as a share of visual FLOPs,
    `notes` of the model's evaluation, "" where there is nothing to say. model: whose they are.
    """

    model: str = ""
    percent: int
    num_visual_tokens: int
    tokens: list[list[int]]
    saving: list[float]
    notes: list[str]


def plans_of(previews: Sequence[Preview], percent: int, model: str = "") -> Plans:
    """The previews of 0, 1, 2, ... percent by a model; `percent` is where the slider stands first."""
    return Plans(
        model=model,
        percent=percent,
        num_visual_tokens=previews[0].num_visual_tokens,
        tokens=[preview.tokens for preview in previews],
        saving=[round(preview.saving, 5) for preview in previews],
        notes=[preview.note for preview in previews],
    )


class Budget(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Plans
