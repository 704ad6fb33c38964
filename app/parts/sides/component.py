"""The two sides of the comparison: a line that says what they are, and behind it how to choose others."""

from __future__ import annotations

from pathlib import Path

from gradio.data_classes import GradioModel

from app.parts.component import BrowserComponent
from app.sides import Sides, about
from fitprune_core import METHODS
from fitprune_core.pruning.methods.base import option_defaults
from fitprune_core.run.results import ORIGINAL


class Kind(GradioModel):
    """A way to answer that can be chosen. options: what may be typed, "seed=0, schedule=recipe"; about: a sentence."""

    name: str
    options: str = ""
    about: str = ""


class Chosen(GradioModel):
    """What is chosen. left_percent: the left's budget, None for the right's; kinds: what there is to choose from."""

    left: str = Sides.left
    left_options: str = ""
    left_percent: float | None = None
    right: str = Sides.right
    right_options: str = ""
    kinds: list[Kind] = []

    @classmethod
    def of(cls, sides: Sides) -> Chosen:
        """The sides as the component shows them."""
        (left, _, left_options), (right, _, right_options) = sides.left.partition(":"), sides.right.partition(":")
        return cls(
            left=left,
            left_options=left_options,
            left_percent=sides.left_percent,
            right=right,
            right_options=right_options,
            kinds=[Kind(name=ORIGINAL, about="The model as it is: no token goes."), *map(_kind, METHODS)],
        )

    def sides(self) -> Sides:
        """What was chosen, checked. Raises ValueError for options that a method does not have, or a budget."""
        left, right = _way(self.left, self.left_options), _way(self.right, self.right_options)
        return Sides(left, right, None if left == ORIGINAL else self.left_percent)


def _way(name: str, options: str) -> str:
    options = "".join(options.split())
    return f"{name}:{options}" if options and name != ORIGINAL else name


def _kind(name: str) -> Kind:
    options = option_defaults(METHODS[name])
    typed = ", ".join(f"{option}={value}" for option, value in options.items())
    return Kind(name=name, options=typed, about=about(name))


class SidesPicker(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Chosen
