"""How this library borrows a model: in turns, and given back as it was found."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from fitprune_core.models.decoder import check_decoder

_borrowed: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()


_turns: weakref.WeakKeyDictionary[PreTrainedModel, threading.RLock] = weakref.WeakKeyDictionary()


_turns_lock = threading.Lock()


@contextmanager
def exclusive_use(model: PreTrainedModel) -> Iterator[None]:
    """Hold a model for this thread; another thread that wants it waits here.

    Whatever changes a model while it runs does so under this lock; a plain run on another thread needs it as well, or
    it is pruned along. A thread may enter it again while it holds it, and
    must leave it itself: a generator that is resumed on several threads must not hold it across a `yield`.
    """
    with _turns_lock:
        turn = _turns.setdefault(model, threading.RLock())
    with turn:
        yield


@contextmanager
def borrowed(model: PreTrainedModel) -> Iterator[None]:
    """Hold a model to work inside its layers. Raises ValueError if that cannot be, or is being done already."""
    with exclusive_use(model):
        check_decoder(model)
        if model in _borrowed:
            raise ValueError("the model is being pruned or measured already; such blocks cannot be nested")
        _borrowed.add(model)
        try:
            yield
        finally:
            _borrowed.discard(model)


@contextmanager
def replaced(replacements: list[tuple[nn.Module, str, Any]]) -> Iterator[None]:
    """Set attributes of instances; on the way out, whatever happened, put back or remove every one."""
    with ExitStack() as undo:
        for owner, name, value in replacements:
            if name in vars(owner):
                undo.callback(setattr, owner, name, vars(owner)[name])
            else:
                undo.callback(delattr, owner, name)
            setattr(owner, name, value)
        yield
