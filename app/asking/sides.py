"""The two sides of a comparison as visitors choose them: by what each answers, at which budget; also in an address."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app import figures
from app.asking.scenes import percent_in
from app.budgets import LARGEST_PERCENT, check_percent
from app.engine import Side, check_name
from fitprune_core import DecoderGeometry, PruningRecipe
from fitprune_core.checks.words import shown
from fitprune_core.pruning.methods import METHODS, find_method
from fitprune_core.report.names import called
from fitprune_core.run.results import ORIGINAL, Comparison, Pruning

FITPRUNE = "fitprune"
_LABEL = re.compile(r"([\w-]+)\((.*)\)")
_LONGEST = 200  # characters of a method with its options


@dataclass(frozen=True)
class Sides:
    """What answers on the left and on the right: "original", a method with its options ("random:seed=1"), or the name
    of a recipe in `own`, by which FitPrune prunes whatever the budget is.

    The right's budget is the page's. left_percent: the left's; None for the same. own: the visitor's recipes that a
    side is, by name. Raises ValueError for what is no method or no budget.
    """

    left: str = ORIGINAL
    right: str = FITPRUNE
    left_percent: float | None = None
    own: Mapping[str, PruningRecipe] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for method in (self.left, self.right):
            check_name(method)
            if len(method) > _LONGEST:
                raise ValueError(f"a method and its options have up to {_LONGEST} characters, not {len(method):,}")
            if method != ORIGINAL and method not in self.own:
                find_method(method)
        if self.left_percent is not None:
            check_percent(self.left_percent)

    @property
    def key(self) -> str:
        """The same for the same sides; the page's script makes it of what is chosen, too."""
        return "|".join((self.left, self.right, self.asked().get("left_budget", "")))

    @property
    def names(self) -> tuple[str, str]:
        """What the page calls them."""
        return self._name(self.left), self._name(self.right)

    def _name(self, method: str) -> str:
        return side_name(method if method == ORIGINAL or method in self.own else find_method(method).label)

    def against(self, percent: float) -> Side:
        """The left side, where the page's budget is so many percent."""
        return self._side(self.left, percent if self.left_percent is None else self.left_percent)

    def pruned(self, percent: float) -> Side:
        """The right side, where the page's budget is so many percent."""
        return self._side(self.right, percent)

    def _side(self, method: str, percent: float) -> Side:
        recipe = self.own.get(method)
        return Side(method, percent) if recipe is None else Side(FITPRUNE, percent, recipe=recipe)

    def asked(self) -> dict[str, str]:
        """What an address asks for to have these sides; nothing of those that a page begins with."""
        asked = {name: way for name, way in (("left", self.left), ("right", self.right)) if way != getattr(Sides, name)}
        if self.left_percent is not None and self.left != ORIGINAL:
            asked["left_budget"] = f"{self.left_percent:g}"
        return asked


def side_name(label: str) -> str:
    """What the page calls what results call `label`."""
    return called(label)


def about(method: str) -> str:
    """What a method does, as a sentence: the first of its docstring, so that it is said in one place."""
    text = " ".join((inspect.getdoc(METHODS[method]) or "").replace("`", "").split())
    return text.split(". ")[0].removesuffix(".") + "." if text else ""


def sides_asked(asked: Mapping[str, str]) -> Sides:
    """The sides that an address asks for. Raises ValueError for what is no method or no budget."""
    text = asked.get("left_budget", "")
    percent = percent_in(text)
    if text and percent is None:
        raise ValueError(f"the left side's budget is a percentage from 0 to {LARGEST_PERCENT}, not {shown(text)}")
    return Sides(asked.get("left", Sides.left), asked.get("right", Sides.right), percent)


def sides_of(first: Pruning | None, second: Pruning) -> Sides:
    """The sides of a comparison: of what its first way did, None for the model as it is, and of what its second did.

    Raises ValueError for a method that is not known here.
    """
    left, right = ORIGINAL if first is None else _asked_for(first.method), _asked_for(second.method)
    other = None if first is None or first.reduction == second.reduction else figures.percent(first.reduction)
    return Sides(left, right, other)


def sides_if_known(comparison: Comparison) -> Sides:
    """The sides of a comparison, or the usual ones where somebody else's method made it."""
    try:
        return sides_of(comparison.against, comparison)
    except ValueError:
        return Sides()


def methods_of(chosen: Sequence[str], more: str) -> list[str]:
    """The methods that were ticked, and those typed beside them with their options: "fastv:layer=5 random:seed=1".

    Raises ValueError for what is no method, or none of its options.
    """
    typed = more.replace(";", " ").split()
    for method in typed:
        find_method(method)
    return [*chosen, *typed]


def check_budgets(
    methods: Sequence[str],
    percents: Sequence[float],
    recipe_for: Callable[[float], PruningRecipe],
    geometry: DecoderGeometry,
) -> None:
    """Raise ValueError for a method that cannot save a budget, before anything is answered: FastV after layer 5 of 12
    saves 63 % at most."""
    for method in map(find_method, methods):
        for percent in percents:
            recipe = recipe_for(percent)
            try:
                method.drops(recipe, geometry, recipe.num_visual_tokens)
            except ValueError as error:
                raise ValueError(f"{method.label} cannot save {percent:g} %: {error}") from error


def placed(label: str, recipe: PruningRecipe, geometry: DecoderGeometry) -> str:
    """Where a method, as results call it or as it is typed, drops what a recipe would save, in words; "" where its
    name says all, and for one that is not known or cannot meet the budget."""
    try:
        method = find_method(_asked_for(label))
        return method.placed(method.drops(recipe, geometry, recipe.num_visual_tokens))
    except ValueError:
        return ""


def original_and(label: str) -> Sides:
    """The original beside a method, as results call it. Raises ValueError for one that is not known."""
    return Sides() if label == ORIGINAL else Sides(right=_asked_for(label))


def _asked_for(label: str) -> str:
    """ "random(seed=1)", as results call it, as it is asked for: "random:seed=1"."""
    found = _LABEL.fullmatch(label)
    return f"{found[1]}:{found[2].replace(', ', ',')}" if found else label
