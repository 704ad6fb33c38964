"""One token of an answer: what else might have come in its place, by either side; and for the scrubber, a map."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent


class LensSide(GradioModel):
    """What one side thinks. likeliest: [text, probability] of the likeliest next tokens; "" is the answer's end.

    margin: how much likelier the first is than the second.
    """

    name: str
    likeliest: list[list[str]]
    margin: float


class Looks(GradioModel):
    """Where the clicked side looks, by layer.

    levels: for each visual token 0 to 255, of the most that any gets at the layer, or -1 where it does not reach it;
    most: what that is; share: what all get together. Both are shares of the attention, mean over heads.
    """

    levels: list[list[int]] = []
    most: list[float] = []
    share: list[float] = []


class Lens(GradioModel):
    """All that the component shows; nothing, without `sides`.

    side, index: the token, of the left answer (0) or the right; token: its text, "" for the answer's end; before: the
    answer up to it. divergence: of both sides' next tokens, Jensen-Shannon, bits. clicked: whether somebody asked for
    this token; number: another for every click, so that the same token can be looked at twice.
    """

    side: int = 0
    index: int = 0
    token: str = ""
    before: str = ""
    sides: list[LensSide] = []
    divergence: float = 0.0
    looks: Looks = Looks()
    clicked: bool = False
    number: int = 0


class TokenLens(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Lens
