"""What somebody else's code does, as a few characters of a digest: hooks on a model, methods of one's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

# Classes of these say nothing of what somebody else wrote.
_KNOWN = ("fitprune_core", "transformers", "torch", "builtins", "abc", "typing")
# So many characters of a digest are enough to tell things apart that nobody made alike on purpose.
SHORT = 16


def code_digest(thing: Any) -> str:
    """A digest of what a function, a bound method, a callable object or a class does: 16 hexadecimal digits.

    That is the code that Python runs, so that comments and places change nothing, with the numbers, texts, arrays and
    functions of its own module that it refers to; of a class all that it and its bases outside this library define.
    """
    digest = hashlib.sha256()
    for part in _Reader().parts(thing):
        digest.update(part + b"\0")
    return digest.hexdigest()[:SHORT]


def underlying(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a partial, a bound method or a compiled function runs; another callable as it is."""
    while inner := _inside(function):
        function = inner
    return function


def name_of(function: Callable[..., Any]) -> str:
    """What a callable is called where it was defined, "steer" or "Steering.__call__", whatever it calls itself."""
    function = underlying(function)
    return function.__code__.co_qualname if isinstance(function, FunctionType) else type(function).__qualname__


def package_of(function: Callable[..., Any]) -> str:
    """The package that a callable is defined in, whatever `functools.wraps` makes it say."""
    function = underlying(function)
    module = function.__globals__.get("__name__") if isinstance(function, FunctionType) else type(function).__module__
    return str(module).partition(".")[0]


def bytes_of(values: torch.Tensor) -> bytes:
    """The numbers of a tensor as they lie in memory."""
    return values.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes()


def _inside(function: Any) -> Callable[..., Any] | None:
    if isinstance(function, partial):
        return function.func
    if isinstance(function, MethodType):
        return function.__func__
    return getattr(function, "_torchdynamo_orig_callable", None)


class _Reader:
    """One way through what a thing consists of, whose parts may refer to each other in circles."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def parts(self, thing: Any) -> Iterator[bytes]:
        """All that `code_digest` looks at."""
        if callable(thing) or isinstance(thing, dict | list):  # equal tuples may be one or several, as Python likes
            if id(thing) in self.seen:
                return
            self.seen.add(id(thing))
        if isinstance(thing, type):
            yield from self._of_class(thing)
        elif isinstance(thing, FunctionType):
            yield from self._of_function(thing)
        elif isinstance(thing, partial):
            yield from self.parts(thing.func)
            yield from self._of_names({str(at): value for at, value in enumerate(thing.args)} | thing.keywords)
        elif isinstance(thing, MethodType):
            yield from self.parts(thing.__func__)
            yield from self._of_names(getattr(thing.__self__, "__dict__", {}))
        elif isinstance(thing, staticmethod | classmethod):
            yield from self.parts(thing.__func__)
        elif isinstance(thing, property):
            for accessor in filter(None, (thing.fget, thing.fset)):
                yield from self.parts(accessor)
        elif isinstance(thing, torch.Tensor):
            yield f"{thing.dtype} {tuple(thing.shape)}".encode()
            yield bytes_of(thing)
        elif isinstance(thing, np.ndarray):
            yield f"{thing.dtype} {thing.shape}".encode()
            yield b"" if thing.dtype.hasobject else thing.tobytes()
        elif isinstance(thing, dict):
            yield from self._of_names(thing)
        elif isinstance(thing, list | tuple):
            yield from self._of_names(dict(enumerate(thing)))
        elif isinstance(thing, set | frozenset):  # whose order is another in each process
            yield from sorted(b" ".join(self.parts(each)) for each in thing)
        elif callable(thing):
            yield from self.parts(type(thing))
            yield from self._of_names(getattr(thing, "__dict__", {}))
        else:
            with suppress(TypeError, ValueError):  # what is no plain value would be told by its address
                yield json.dumps(thing).encode()

    def _of_class(self, kind: type) -> Iterator[bytes]:
        for each in kind.__mro__:
            if each.__module__.partition(".")[0] in _KNOWN:
                continue
            own = {
                name: value
                for name, value in vars(each).items()
                if name[:2] != "__" or isinstance(value, FunctionType)  # the others say where it is, not what it does
            }
            yield from self._of_names(own)

    def _of_function(self, function: FunctionType) -> Iterator[bytes]:
        code = function.__code__
        yield from _of_code(code)
        yield from self._of_names(dict(enumerate(function.__defaults__ or ())) | (function.__kwdefaults__ or {}))
        around = {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # nothing is in it yet
                around[name] = cell.cell_contents
        yield from self._of_names(around)
        there = function.__globals__
        used = {name: there[name] for name in sorted({*_names(code)}) if name in there}
        yield from self._of_names(
            {
                name: value
                for name, value in used.items()
                if not callable(value) or getattr(value, "__module__", None) == function.__module__
            }
        )

    def _of_names(self, values: dict[Any, Any]) -> Iterator[bytes]:
        """Named values, of classes and modules their names alone."""
        for name, value in values.items():
            yield str(name).encode()
            if not isinstance(value, type | torch.nn.Module):
                yield from self.parts(value)


def _of_code(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield " ".join(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:  # a set's order is another in each process
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant).encode()


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
