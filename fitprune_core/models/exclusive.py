"""How this library borrows a model: in turns, and given back as it was found."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import update_wrapper
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from fitprune_core.models.decoder_check import check_decoder

GENERATOR_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

LONGEST_PATIENCE = 30.0  # seconds between two looks for a block that nobody will end

_TAKEN = (
    "the model is being pruned or measured already, in a block that was entered here and has not ended; such blocks "
    "cannot be nested, so end that one first (or the generator that holds it)"
)

_this_thread = threading.local()


class _Block:
    """One `with` block that holds a model: the thread that entered it, and the generators that it was entered in.

    A generator may be resumed on any thread, so whoever runs one of its frames is inside the block as well. Frames are
    known by their addresses, not held: a block must not keep alive what a generator holds.
    """

    def __init__(self) -> None:
        self.thread = _thread_token()
        self.frames = {id(frame) for frame in _frames() if frame.f_code.co_flags & GENERATOR_FLAGS}

    def is_around(self) -> bool:
        """Whether the code that asks runs inside the block."""
        return self.thread is _thread_token() or any(id(frame) in self.frames for frame in _frames())


class _Turns:
    """Who holds one model. Blocks that hold it at the same time are nested: all of one thread, or one generator."""

    def __init__(self) -> None:
        # Its lock is re-entrant: the garbage collector may end a block while this thread is inside.
        self.changed = threading.Condition()
        self.blocks: list[_Block] = []

    def take(self, block: _Block) -> None:
        """Wait until nobody else holds the model."""
        patience = 1.0
        while not self._takes(block):
            with self.changed:
                freed = not self.blocks or self.changed.wait(patience)
            if not freed:
                # A generator that was given up within a reference cycle holds its block until the collector comes by.
                gc.collect()
                patience = min(2 * patience, LONGEST_PATIENCE)

    def _takes(self, block: _Block) -> bool:
        with self.changed:
            takes = not self.blocks or self.is_held_around()
            if takes:
                self.blocks.append(block)
            return takes

    def is_held_around(self) -> bool:
        """Whether the code that asks runs inside a block that holds the model."""
        with self.changed:
            return any(held.is_around() for held in self.blocks)

    def give_back(self, block: _Block) -> None:
        """End a block, on whatever thread; one that never got its turn is none."""
        with self.changed:
            if block in self.blocks:
                self.blocks.remove(block)
                self.changed.notify_all()


_turns: weakref.WeakKeyDictionary[PreTrainedModel, _Turns] = weakref.WeakKeyDictionary()
_turns_lock = threading.RLock()
_borrowed: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()


@contextmanager
def exclusive_use(model: PreTrainedModel) -> Iterator[None]:
    """Hold a model for this thread; another thread that wants it waits here.

    Whatever changes a model while it runs does so under this lock; a plain run on another thread needs it as well, or
    it is pruned along. Who holds it may enter it again. It may be left on any thread, so a generator may hold it across
    a `yield`, however it is resumed, closed or collected; until then the model is taken.
    """
    with _held(model):
        yield


def free_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, where it may be wrapped by `torch.compile(model)`, for work that needs it as it is.

    Raises ValueError inside a block that prunes or measures it, on the same thread or in the same generator: such work
    would be pruned along, or wait for ever on a thread of its own. Other threads' blocks are waited for, not refused.
    """
    model = uncompiled(model)
    with _turns_lock:
        turns = _turns.get(model)
    if model in _borrowed and turns is not None and turns.is_held_around():
        raise ValueError(_TAKEN)
    return model


@contextmanager
def as_it_is(model: PreTrainedModel) -> Iterator[None]:
    """Hold a model to run it unpruned; what is compiled runs uncompiled, as in `borrowed`, so that both compare.

    Raises ValueError where it is being pruned or measured already.
    """
    with _held(model) as undo:
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
    with _held(model) as undo:
        if model in _borrowed:
            raise ValueError(_TAKEN)
        undo.callback(_borrowed.discard, model)
        _borrowed.add(model)
        replace(undo, compiled_calls(whole))
        check_decoder(model)
        yield undo


@contextmanager
def _held(model: PreTrainedModel) -> Iterator[ExitStack]:
    """Hold a model, and undo what was done to it before it is given back.

    All that has to be undone lies in one place: where a generator is collected within a reference cycle, the blocks
    that it is in may end in any order.
    """
    with _turns_lock:
        turns = _turns.setdefault(uncompiled(model), _Turns())
    block, undo = _Block(), ExitStack()
    try:
        turns.take(block)
        yield undo
    finally:
        try:
            undo.close()
        finally:
            turns.give_back(block)


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


def uncompiled(model: Any) -> Any:
    """The model itself, where it may be wrapped by `torch.compile(model)`."""
    return getattr(model, "_orig_mod", model)


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


def _thread_token() -> object:
    """Something that no other thread has, also none that comes later and gets this one's number."""
    if not hasattr(_this_thread, "token"):
        _this_thread.token = object()
    return _this_thread.token


def _frames() -> Iterator[Any]:
    """The frames of this thread, innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
