"""What a method is: a ranking of visual tokens, with a name, options, and what it reads."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.pruning.attention import LayerAttention
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops, drops_by

# What results call the model as it is; no method may be called so.
ORIGINAL = "original"


@dataclass(frozen=True)
class Candidates:
    """The visual tokens that arrive at a layer that drops some.

    tokens: their numbers in the image, ascending, LongTensor (count,); num_visual_tokens: how many the image had;
    num_kept: how many of `tokens` will stay. before: the importance that they were given before the decoder, (count,),
    where a method chose there, or ranks by it. in_tower: the attention that they received in the vision tower,
    (count,), before the decoder, where the method's `scores_before` is "tower".
    """

    tokens: torch.Tensor
    num_visual_tokens: int
    num_kept: int
    before: torch.Tensor | None = None
    in_tower: torch.Tensor | None = None

    def chosen_before(self) -> torch.Tensor:
        """`before`, for a method that drops inside layers by what it found before them. Raises ValueError without."""
        if self.before is None:
            raise ValueError("these tokens were given no importance before the decoder; drop some there first")
        return self.before

    def received_in_tower(self) -> torch.Tensor:
        """`in_tower`, for a method that ranks by it. Raises ValueError without."""
        if self.in_tower is None:
            raise ValueError("nothing tells what these tokens received in the vision tower")
        return self.in_tower


class Method(ABC):
    """A way to choose which visual tokens go.

    Its options are the arguments of its constructor. Each has a default and is kept as an attribute of the same name
    (a frozen dataclass does both), because what differs from the defaults is part of `label`, by which results are
    told apart.

    Attributes:
        name: what users call it; neither "original" nor the name of another in `METHODS`, whose results it would have.
        paper: where it comes from, "arXiv 2409.10197"; empty for a baseline.
        scores: the attention it reads in a layer that drops, in the words of `cost.request.request_flops`: "both",
            "self", "cross", "last" (one query) or "none".
        scores_before: what it computes before the decoder, in the same function's words: "pairs", "tower" (attention in
            the vision tower, read while it runs) or "none".
        ranks_by_before: whether what it drops inside layers goes by what it found before the decoder, so that this is
            computed also where nothing goes there.
        usual: of options whose default is None, what that stands for, in a few words.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    scores: ClassVar[str]
    scores_before: ClassVar[str] = "none"
    ranks_by_before: ClassVar[bool] = False
    usual: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @property
    def label(self) -> str:
        """What results call it: its name and the options that are not the defaults, "random" or "random(seed=1)"."""
        chosen = [f"{name}={value}" for name, value in self.options.items() if value != option_defaults(self)[name]]
        return f"{self.name}({', '.join(chosen)})" if chosen else self.name

    @property
    def options(self) -> dict[str, Any]:
        """All options, as they are."""
        missing = [name for name in option_defaults(self) if not hasattr(self, name)]
        if missing:
            raise ValueError(f"{type(self).__name__} keeps its option {missing[0]} under another name; see Method")
        return {name: getattr(self, name) for name in option_defaults(self)}

    @property
    def follows_recipe(self) -> bool:
        """Whether it drops where the recipe does; only then are layers before the recipe's first left alone."""
        return True

    def drops(self, recipe: PruningRecipe, geometry: DecoderGeometry, num_visual_tokens: int) -> Drops:
        """How many go where, for a picture of so many visual tokens: as many as the recipe says, where it says.

        A method with a schedule of its own saves what the recipe would save for the picture, so that methods can be
        compared at equal FLOPs. Raises ValueError for a budget that it cannot meet.
        """
        return drops_by("recipe", recipe, geometry, num_visual_tokens)

    def placed(self, drops: Drops) -> str:
        """Where these drops lie, in words, where that decides how good it is and its name does not say it; else "".

        drops: what `drops` returned.
        """
        return ""

    def importance_before(self, features: torch.Tensor, candidates: Candidates) -> torch.Tensor:
        """Importance of each visual token before the decoder, (count,); asked where `drops` lets some go there.

        features: the tokens of one sample as they enter the decoder, (count, width).
        """
        raise ValueError(f"{self.name} ranks by attention inside the layers, so nothing can go before the decoder")

    def scores_entering(self, removed_before: int) -> str:
        """What is computed before the decoder where so many tokens go there: `scores_before`, or "none"."""
        return self.scores_before if removed_before or self.ranks_by_before else "none"

    def scores_after(self, removed_before: int) -> str:
        """The attention that layers are read for where so many tokens went before the decoder: `scores`."""
        return self.scores

    @abstractmethod
    def importance(self, attention: LayerAttention, candidates: Candidates) -> torch.Tensor:
        """Importance of each candidate, (count,), on the device of `attention`: the least important are dropped."""


def check_method(kind: type[Method], known: Mapping[str, type[Method]] = MappingProxyType({})) -> None:
    """Raise ValueError for a class of methods that lacks what others rely on: a name that nothing else has, and options
    that have defaults. known: the methods that have their names already.
    """
    if inspect.isabstract(kind):
        raise ValueError(f"{kind.__name__} says nothing of importance, so it ranks nothing; write that method")
    for attribute in ("name", "scores"):
        if not isinstance(getattr(kind, attribute, None), str):
            raise ValueError(f"{kind.__name__} has no {attribute}; give the class one, a text (see Method)")
    if kind.name == ORIGINAL:
        raise ValueError(f"{kind.__name__} is called {ORIGINAL}, as the model as it is; give the class another name")
    # A label is a name with options in brackets.
    namesake = known.get(kind.name.partition("(")[0], kind)
    if namesake is not kind:
        raise ValueError(
            f"{kind.__name__} is called {kind.name}, as the library's own {namesake.__name__}; give the class another "
            "name, by which its results are told apart"
        )
    for option, default in option_defaults(kind).items():
        if default is inspect.Parameter.empty:
            raise ValueError(f"option {option} of {kind.__name__} has no default; give it one")


def option_defaults(method: Method | type[Method]) -> dict[str, Any]:
    """The options of a method and their defaults."""
    kind = method if isinstance(method, type) else type(method)
    return {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
