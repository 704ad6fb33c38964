"""Memory that runs out, said in words."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


_MEMORY_HINT = "A smaller picture, a shorter answer, another dtype or another device may fit"


def with_memory_explained(
    work: Callable[[], Result], device: torch.device, what: str, hint: str = _MEMORY_HINT
) -> Result:
    """Return `work()`. If the device runs out of memory, free what the attempt held and raise MemoryError saying so.

    what: what was being worked on; hint: what may help; both in words, for the message.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
    # Only here is the first error gone, and with it the frames that held on to the tensors.
    gc.collect()
    empty_cache = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if empty_cache is not None:
        empty_cache()
    raise MemoryError(f"the device {device} ran out of memory on {what}; what it held is free again. {hint}")


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, or None where it does not say. The system's files may yield more on a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if device.type != "cpu" or not {"SC_AVPHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return None
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA has an error of its own for this; the CPU's allocator raises a RuntimeError."""
    words = ("DefaultCPUAllocator", "out of memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(word in str(error) for word in words)
