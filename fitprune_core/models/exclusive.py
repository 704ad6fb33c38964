"""How this library borrows a model: in turns, and given back as it was found."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import update_wrapper
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from fitprune_core.models.decoder_check import check_decoder
from fitprune_core.models.family import family_of
from fitprune_core.models.turns import exclusive_use, held, is_held_here, uncompiled

__all__ = [
    "StandIn",
    "as_it_is",
    "borrowed",
    "compiled_calls",
    "exclusive_use",
    "free_model",
    "model_for_another_thread",
    "replace",
    "uncompiled",
]

_TAKEN = (
    "the model is being pruned or measured already, in a block that was entered here and has not ended; such blocks "
    "cannot be nested, so end that one first (or the generator that holds it)"
)

_borrowed: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()


def free_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, where it may be wrapped by `torch.compile(model)`, for work that needs it as it is.

    Raises ValueError for what is no model of a known family, and inside a block that prunes or measures it, on the same
    thread or in the same generator: inside it the work would itself be pruned, or deadlock on its own thread. Other
    threads' blocks are waited for, not refused.
    """
    model = uncompiled(model)
    family_of(model)
    if model in _borrowed and is_held_here(model):
        raise ValueError(_TAKEN)
    return model


def model_for_another_thread(model: PreTrainedModel) -> PreTrainedModel:
    """As `free_model`, for work on a thread of its own, which would deadlock with any block that is entered here.

    Raises ValueError inside a block that holds the model, for whatever purpose.
    """
    model = free_model(model)
    if is_held_here(model):
        raise ValueError(_TAKEN)
    return model


@contextmanager
def as_it_is(model: PreTrainedModel) -> Iterator[None]:
    """Hold a model to run it unpruned; what is compiled runs uncompiled, as in `borrowed`, so that both compare.

    Raises ValueError where it is being pruned or measured already.
    """
    with held(model) as undo:
        if uncompiled(model) in _borrowed:
            raise ValueError(_TAKEN)
        replace(undo, compiled_calls(model))
        yield


@contextmanager
def borrowed(model: PreTrainedModel) -> Iterator[ExitStack]:
    """Hold a model to work inside its layers; yields where to put what has to be undone before it is given back.

    A compiled model runs uncompiled meanwhile. Raises ValueError if that cannot be, or is being done already.
    """
    whole, model = model, uncompiled(model)
    family_of(model)
    with held(model) as undo:
        if model in _borrowed:
            raise ValueError(_TAKEN)
        undo.callback(_borrowed.discard, model)
        _borrowed.add(model)
        replace(undo, compiled_calls(whole))
        check_decoder(model)
        yield undo


class StandIn:
    """A callable that stands in a method's place on one instance, and is called with the method first.

    It has the method's signature. A deep copy or a pickle of its owner gets the method itself, so that a copy made
    inside a block is a plain model.
    """

    def __init__(self, method: Callable[..., Any], work: Callable[..., Any]) -> None:
        update_wrapper(self, method)
        self.method, self.work = method, work

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.work(self.method, *args, **kwargs)

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return _itself, (self.method,)


def replace(undo: ExitStack, replacements: Iterable[tuple[nn.Module, str, Any]]) -> None:
    """Set attributes of instances, and leave with `undo` that every one is put back or removed."""
    for owner, name, value in replacements:
        if name in vars(owner):
            undo.callback(setattr, owner, name, vars(owner)[name])
        else:
            undo.callback(delattr, owner, name)
        setattr(owner, name, value)


def compiled_calls(model: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Replacements after which nothing in a model runs compiled, whichever way of torch.compile was taken.

    Compiled code knows nothing of a forward that stands in for another, and of layers that return fewer rows.
    """
    for module in model.modules():
        if getattr(module, "_compiled_call_impl", None) is not None:
            yield module, "_compiled_call_impl", None
        for name in ("forward", "generate"):
            plain = getattr(vars(module).get(name), "_torchdynamo_orig_callable", None)
            if plain is not None:
                yield module, name, plain


def _itself(value: Any) -> Any:
    return value
