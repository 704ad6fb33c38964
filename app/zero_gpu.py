"""ZeroGPU: a Hugging Face Space that has a GPU only while a decorated call runs, in a process of its own.

What such a call is given and yields is pickled between the processes, so it gets no function that asks whether to stop:
the caller asks between two items, and closes the call when it is to end. The package `spaces` is there on such a Space
alone, and has to be imported before anything looks for CUDA (`app.py` does). Outside a call the model has no weights,
and says nothing of it: whatever runs it must be borrowing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

import gradio as gr
import httpx

_TAG = re.compile(r"<[^>]*>")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")  # of Markdown
_WORKER_FAILED = "ZeroGPU worker error"  # the package's title for whatever ends a call on the GPU

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failed:
    """What the work ended with. Of what a call raises the package hands on the name of its class alone."""

    kind: type[Exception]
    words: str


def is_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU") == "true"


def borrowing_a_gpu(work: Callable[..., Iterator[Any]], seconds: Callable[..., int]) -> Callable[..., Iterator[Any]]:
    """`work`, whose last argument is `should_stop`, on a borrowed GPU; anywhere but on ZeroGPU `work` itself.

    seconds: how long a call needs the GPU, from the same arguments without the last: the Space reserves that much of
    the visitor's quota. The call raises ValueError, in words for a visitor, where they get no GPU; what the work raises
    it raises as well, as a ValueError, a MemoryError, or a RuntimeError with the same words.
    """
    if not is_zero_gpu():
        return work
    import spaces

    def never() -> bool:
        return False

    @spaces.GPU(duration=seconds)
    def borrowed(*arguments: Any) -> Iterator[Any]:
        try:
            yield from work(*arguments, never)
        except ValueError as error:
            yield _Failed(ValueError, str(error))
        except MemoryError as error:
            yield _Failed(MemoryError, str(error))
        except Exception as error:
            logger.exception("a call on the borrowed GPU failed")
            yield _Failed(RuntimeError, str(error) or type(error).__name__)
            raise  # the package then lends no GPU to this process again

    @wraps(work)
    def asked(*arguments: Any) -> Iterator[Any]:
        *given, should_stop = arguments
        with contextlib.closing(_in_words(borrowed(*given))) as items:
            for item in items:
                if should_stop():
                    return
                if isinstance(item, _Failed):
                    raise item.kind(item.words)
                yield item

    return asked


def _in_words(items: Iterator[Any]) -> Generator[Any, None, None]:
    """What a call yields. Whatever the package raises, quotas and failures, becomes a ValueError for a visitor."""
    with contextlib.closing(items):  # type: ignore[type-var]
        try:
            yield from items
        except gr.Error as error:
            raise ValueError(_words_of(error)) from error
        except (RuntimeError, OSError, httpx.HTTPError) as error:
            logger.exception("no GPU could be borrowed")
            raise ValueError(f"This Space could borrow no GPU ({error}). Try again in a minute.") from error


def _words_of(error: gr.Error) -> str:
    """The package says no (quota, queue, duration) with a title and with some HTML or Markdown."""
    words = _LINK.sub(r"\1 (\2)", " ".join(_TAG.sub("", str(error.message)).split()))
    if error.title == _WORKER_FAILED:
        return f"The GPU that was lent for this failed ({words}). Try again in a minute."
    return f"{error.title}: {words}"
