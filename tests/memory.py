"""A device that runs out of memory, without filling one."""

from __future__ import annotations

import torch
from transformers.models.llama.modeling_llama import LlamaMLP


def fill_memory_once(monkeypatch, at: int = 3) -> list[int]:
    """Let the MLPs of all Llama decoders raise what CUDA raises, at call number `at` and never again.

    Returns a list that grows with every call.
    """
    calls, forward = [], LlamaMLP.forward

    def full_once(self, hidden_states):
        calls.append(len(calls) + 1)
        if len(calls) == at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")
        return forward(self, hidden_states)

    monkeypatch.setattr(LlamaMLP, "forward", full_once)
    return calls
