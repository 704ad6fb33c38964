"""Taking turns at a model: who holds it, and waiting for it."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import PreTrainedModel

GENERATOR_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

LONGEST_PATIENCE = 30.0  # seconds between two looks for a block that nobody will end

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
            return any(block.is_around() for block in self.blocks)

    def give_back(self, block: _Block) -> None:
        """End a block, on whatever thread. A block that never got its turn is ignored."""
        with self.changed:
            if block in self.blocks:
                self.blocks.remove(block)
                self.changed.notify_all()


_turns: weakref.WeakKeyDictionary[PreTrainedModel, _Turns] = weakref.WeakKeyDictionary()
_turns_lock = threading.RLock()


@contextmanager
def exclusive_use(model: PreTrainedModel) -> Iterator[None]:
    """Hold a model for this thread; another thread that wants it waits here.

    Whatever changes a model while it runs does so under this lock; a plain run on another thread needs it as well, or
    it is pruned along. Who holds it may enter it again. It may be left on any thread, so a generator may hold it across
    a `yield`, however it is resumed, closed or collected; until then the model is taken.
    """
    with held(model):
        yield


def is_held_here(model: PreTrainedModel) -> bool:
    """Whether the code that asks runs inside a block that holds a model, on its thread or in its generator."""
    with _turns_lock:
        turns = _turns.get(uncompiled(model))
    return turns is not None and turns.is_held_around()


@contextmanager
def held(model: PreTrainedModel) -> Iterator[ExitStack]:
    """Hold a model, and undo what was done to it before it is given back.

    Everything to undo is on one stack, because the blocks of a generator that is collected within a reference cycle may
    end in any order.
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


def uncompiled(model: Any) -> Any:
    """The model itself, where it may be wrapped by `torch.compile(model)`."""
    return getattr(model, "_orig_mod", model)


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
