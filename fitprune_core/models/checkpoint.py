"""A checkpoint that is not whole, or not sound, is refused with one sentence; its own code is never run or offered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fitprune_core.checks.words import cut, named

# Every `from_pretrained` is told so: left open, transformers asks at the terminal whether to run a folder's code.
NO_CODE = {"trust_remote_code": False}
_NAMED = 3


@contextmanager
def damage_explained(name: str) -> Iterator[None]:
    """Turn whatever loading raises into a ValueError that names the model.

    Configurations with values that cannot be, and weights or tokenizers with damaged bytes, raise about anything:
    OSError, KeyError, TypeError, ZeroDivisionError, RecursionError, SafetensorError, Exception itself. A ValueError of
    one line passes, and so does memory that runs out.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        words = str(error).strip() or type(error).__name__
        if "trust_remote_code" in words:
            words = "it comes with code of its own, which is never run here"
        elif isinstance(error, ValueError) and "\n" not in words:
            raise
        elif not isinstance(error, OSError | ValueError):
            words = f"{type(error).__name__}: {words}"
        first = cut(words.splitlines()[0].rstrip(".:"), 300)
        raise ValueError(f"The model {named(name)!r} cannot be loaded: {first}") from error


def check_whole(name: str, loading: Mapping[str, Any]) -> None:
    """Raise ValueError, naming them, if tensors of a model are missing or of another shape than its configuration says.

    loading: what `from_pretrained` returns of itself with `output_loading_info`. Without this check such a model gets
    random numbers there, and answers nonsense.
    """
    wrong = [f"{key} (missing)" for key in sorted(loading.get("missing_keys") or ())]
    for key, found, needed in sorted(loading.get("mismatched_keys") or (), key=lambda one: one[0]):
        wrong.append(f"{key} ({tuple(found)}, not {tuple(needed)})")
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise ValueError(f"The model {named(name)!r} is not whole: {', '.join(wrong[:_NAMED])}{more}.")
