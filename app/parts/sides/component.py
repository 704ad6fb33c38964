"""The two sides of the comparison: a line that says what they are, and behind it how to choose others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gradio.data_classes import GradioModel

from app.asking.sides import Sides, about
from app.parts.component import BrowserComponent
from fitprune_core import METHODS, PruningRecipe
from fitprune_core.checks.words import shown
from fitprune_core.pruning.methods.base import option_defaults
from fitprune_core.run.results import ORIGINAL


class Kind(GradioModel):
    """A way to answer that can be chosen. options: what may be typed, as it is where nothing is, "seed=0,
    schedule=recipe" or "layer=2, as in its paper"; about: a sentence.

    takes_budget: whether the page's budget says how much it prunes; is_recipe: whether it is a recipe of the visitor's.
    """

    name: str
    options: str = ""
    about: str = ""
    takes_budget: bool = True
    is_recipe: bool = False


class Chosen(GradioModel):
    """What is chosen. left_percent: the left's budget, None for the right's; kinds: what there is to choose from."""

    left: str = Sides.left
    left_options: str = ""
    left_percent: float | None = None
    right: str = Sides.right
    right_options: str = ""
    kinds: list[Kind] = []

    @classmethod
    def of(cls, sides: Sides, own: Mapping[str, PruningRecipe] = MappingProxyType({})) -> Chosen:
        """The sides as the component shows them. own: recipes that can be chosen beside the methods."""
        (left, left_options), (right, right_options) = _parts(sides.left, own), _parts(sides.right, own)
        original = Kind(name=ORIGINAL, about="The model as it is: no token goes.", takes_budget=False)
        return cls(
            left=left,
            left_options=left_options,
            left_percent=sides.left_percent,
            right=right,
            right_options=right_options,
            kinds=[original, *map(_kind, METHODS), *(_recipe(name, recipe) for name, recipe in own.items())],
        )

    def sides(self, own: Mapping[str, PruningRecipe] = MappingProxyType({})) -> Sides:
        """What was chosen, checked. own: the visitor's recipes. Raises ValueError for options that a method does not
        have, a budget that cannot be, or a recipe that is not there."""
        ways = _way(self.left, self.left_options), _way(self.right, self.right_options)
        for name in ways:
            if name not in own and any(kind.is_recipe and kind.name == name for kind in self.kinds):
                raise ValueError(f"the recipe {shown(name)} is not kept any more: choose it on the page Recipes again")
        left, right = ways
        takes_budget = left != ORIGINAL and left not in own
        return Sides(
            left,
            right,
            self.left_percent if takes_budget else None,
            {name: own[name] for name in ways if name in own},
        )


def _parts(way: str, own: Mapping[str, PruningRecipe]) -> tuple[str, str]:
    name, _, options = (way, "", "") if way in own else way.partition(":")
    return name, options


def _way(name: str, options: str) -> str:
    options = "".join(options.split())
    return f"{name}:{options}" if options and name != ORIGINAL else name


def _kind(name: str) -> Kind:
    options = {**option_defaults(METHODS[name]), **METHODS[name].usual}
    typed = ", ".join(f"{option}={value}" for option, value in options.items())
    return Kind(name=name, options=typed, about=about(name))


def _recipe(name: str, recipe: PruningRecipe) -> Kind:
    saved = f"{100 * recipe.achieved_reduction:.1f} % of visual FLOPs"
    about = f"Your recipe, which saves {saved}; which tokens go is FitPrune's choice."
    return Kind(name=name, about=about, takes_budget=False, is_recipe=True)


class SidesPicker(BrowserComponent):
    folder = Path(__file__).resolve().parent
    data_model = Chosen
