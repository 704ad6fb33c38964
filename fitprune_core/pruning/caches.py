"""The caches that a block has pruned: they live in it, and so do copies of them."""

from __future__ import annotations

import weakref
from functools import cache as remembered
from typing import Any, Self

from fitprune_core.pruning.prompt import PrunedPrompt


class PrunedCaches:
    """The caches of one block, each with the prompt that filled it. Every copy of one has this same object."""

    def __init__(self) -> None:
        self.has_ended = False
        self._prompts: weakref.WeakKeyDictionary[Any, PrunedPrompt] = weakref.WeakKeyDictionary()

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def add(self, cache: Any, prompt: PrunedPrompt) -> None:
        """A prompt begins to fill a transformers cache, which takes no more rows once the block has ended."""
        cache.__class__ = _living(cache.__class__)
        cache.pruned_in = self
        self._prompts[cache] = prompt

    def prompt_of(self, cache: Any) -> PrunedPrompt | None:
        """The prompt that filled a cache here, or None."""
        return self._prompts.get(cache)

    def end(self) -> None:
        """The block ends, and with it what it pruned."""
        self.has_ended = True
        self._prompts.clear()


@remembered
def _living(kind: type) -> type:
    if hasattr(kind, "pruned_in"):
        return kind

    class Living(kind):
        pruned_in: PrunedCaches | None = None

        def update(self, *args: Any, **kwargs: Any) -> Any:
            if self.pruned_in is not None and self.pruned_in.has_ended:
                if self.get_seq_length():
                    raise ValueError(
                        "this cache was pruned in a block that has ended, and it lives there: its layers are of "
                        "unequal length; go on with it inside its block, or begin with a new cache"
                    )
                self.pruned_in = None  # it was emptied, and is as good as new
            return super().update(*args, **kwargs)

    return Living
