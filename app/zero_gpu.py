"""ZeroGPU: a Hugging Face Space that has a GPU only while a decorated call runs, in a process of its own.

What such a call is given and yields is pickled between the processes, so it gets no function that asks whether to stop:
the caller asks between two items, and closes the call when it is to end. The package `spaces` is there on such a Space
alone, and has to be imported before anything looks for CUDA (`app.py` does).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr

_TAG = re.compile(r"<[^>]*>")


def is_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU") == "true"


def borrowing_a_gpu(work: Callable[..., Iterator[Any]], seconds: Callable[..., int]) -> Callable[..., Iterator[Any]]:
    """`work`, whose last argument is `should_stop`, on a borrowed GPU; anywhere but on ZeroGPU `work` itself.

    seconds: how long a call needs the GPU, from the same arguments without the last: the Space reserves that much of
    the visitor's quota. The call raises ValueError, in words for a visitor, where he gets no GPU.
    """
    if not is_zero_gpu():
        return work
    import spaces

    def never() -> bool:
        return False

    @spaces.GPU(duration=seconds)
    def borrowed(*arguments: Any) -> Iterator[Any]:
        yield from work(*arguments, never)

    @wraps(work)
    def asked(*arguments: Any) -> Iterator[Any]:
        *given, should_stop = arguments
        with contextlib.closing(borrowed(*given)) as items, _refusals_in_words():
            for item in items:
                if should_stop():
                    return
                yield item

    return asked


@contextlib.contextmanager
def _refusals_in_words() -> Iterator[None]:
    """The package says no (quota, queue, duration) by a gr.Error with a title and some HTML."""
    try:
        yield
    except gr.Error as error:
        raise ValueError(f"{error.title}: {' '.join(_TAG.sub('', str(error.message)).split())}") from error
