"""All methods by name, and how a user's words become one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fitprune_core.checks.words import shown
from fitprune_core.pruning.methods.base import Method, check_method, option_defaults
from fitprune_core.pruning.methods.cross_only import CrossOnly
from fitprune_core.pruning.methods.divprune import DivPrune
from fitprune_core.pruning.methods.fastv import FastV
from fitprune_core.pruning.methods.fitprune import FitPrune
from fitprune_core.pruning.methods.fitprune_plus import FitPrunePlus
from fitprune_core.pruning.methods.last_token import LastToken
from fitprune_core.pruning.methods.pyramiddrop import PyramidDrop
from fitprune_core.pruning.methods.random import Random
from fitprune_core.pruning.methods.self_only import SelfOnly
from fitprune_core.pruning.methods.uniform import Uniform
from fitprune_core.pruning.methods.visionzip import VisionZipDominant

_RANKINGS = (FitPrune, SelfOnly, CrossOnly, LastToken, Random, Uniform)
_OWN_SCHEDULES = (FastV, PyramidDrop, DivPrune, VisionZipDominant, FitPrunePlus)
METHODS: dict[str, type[Method]] = {method.name: method for method in (*_RANKINGS, *_OWN_SCHEDULES)}


def is_known(method: Method) -> bool:
    """Whether a method is the library's own, and not one that somebody else wrote."""
    return METHODS.get(method.name) is type(method)


def find_method(method: str | Method | type[Method]) -> Method:
    """A method by its name and options, or as it is; of a class the one with its default options.

    Options follow the name: "random:seed=1", several with a comma between them. Raises ValueError naming the known
    methods, or the options that there are, for what is none; and what the method says of a value that cannot be.
    """
    if isinstance(method, Method):
        check_method(type(method), METHODS)
        return method
    if isinstance(method, type) and issubclass(method, Method):
        check_method(method, METHODS)
        return method()
    if not isinstance(method, str):
        raise ValueError(f"method is {shown(method)}; give the name of one, with its options, or a Method")
    name, _, rest = method.partition(":")
    if name not in METHODS:
        raise ValueError(f"method is {shown(name)}; choose one of {', '.join(METHODS)}")
    return METHODS[name](**_options(METHODS[name], rest))


def find_methods(methods: Sequence[str | Method | type[Method]] | str | Method | type[Method]) -> dict[str, Method]:
    """One method or several, as `find_method` takes them, by their labels: what comes twice is there once.

    Raises ValueError for two that are not the same and would share a label: their answers could not be told apart.
    """
    several = [methods] if isinstance(methods, str | Method | type) else methods
    found: dict[str, Method] = {}
    for method in map(find_method, several):
        other = found.setdefault(method.label, method)
        if type(other) is not type(method):
            raise ValueError(
                f"two methods are called {method.label}, {type(other).__name__} and {type(method).__name__}; give one "
                "a name of its own"
            )
    return found


def _options(kind: type[Method], text: str) -> dict[str, Any]:
    """The options of a method from "seed=1,layer=2"; the empty text has none."""
    known, found = option_defaults(kind), {}
    for part in filter(None, text.split(",")):
        option, equals, value = part.partition("=")
        if option not in known or not equals:
            there_are = f"{', '.join(known)}, as in {kind.name}:{next(iter(known))}=VALUE" if known else "none"
            raise ValueError(f"method {kind.name} has no option {shown(part)}; it has {there_are}")
        if option in found:
            raise ValueError(f"method {kind.name} is given {option} twice, in {shown(text)}; choose one value")
        found[option] = int(value) if re.fullmatch(r"-?\d{1,18}", value) else value
    return found
