"""Pruning as the authors' code does it, on today's transformers: what the project's own way is measured against.

Eager attention at every layer, its matrices kept for all layers, as `output_attentions` keeps them, and scores read off
the whole matrix (github.com/ywh187/FitPrune, `modeling_llama.py`). Rows are dropped at the same point, by the same
code, so that both ways do the same work otherwise. And a meter for the memory that scores take.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

from fitprune_core.models.decoder import Attended
from fitprune_core.pruning.context import prune_visual_tokens, pruned
from fitprune_core.pruning.methods import find_method
from fitprune_core.pruning.prompt import PrunedPrompt, PruningTrace
from fitprune_core.recipes.recipe import PruningRecipe

BACKEND = "eager_kept"


class MatrixPrompt(PrunedPrompt):
    """A request that scores by the attention matrices that a layer has kept."""

    def __init__(self, *args, matrices: list[torch.Tensor]) -> None:
        super().__init__(*args)
        self.matrices = matrices

    def choose(self, layer: int, attended: Attended) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PrunedPrompt.choose`, for one sample: (1, tokens that go) and (1, tokens that stay)."""
        largest = self.matrices[-1][0].max(dim=0).values
        visual = self.visual[0]
        received = largest[:, visual]
        importance = received[visual].mean(dim=0) * received[-self.text_after[0] :].mean(dim=0)
        order = importance.argsort(stable=True)[None]
        count = self.counts[layer]
        return order[:, :count], order[:, count:].sort(dim=1).values


@contextmanager
def published_way(model: PreTrainedModel, recipe: PruningRecipe) -> Iterator[PruningTrace]:
    """As `prune_visual_tokens`, the published way; one prompt a block, on an empty cache."""
    matrices: list[torch.Tensor] = []
    AttentionInterface.register(BACKEND, partial(_attend_and_keep, matrices))
    AttentionMaskInterface.register(BACKEND, eager_mask)
    config = model.config.text_config
    before = config._attn_implementation
    config._attn_implementation = BACKEND
    try:
        with pruned(model, recipe, find_method("fitprune"), partial(MatrixPrompt, matrices=matrices)) as trace:
            yield trace
    finally:
        config._attn_implementation = before
        matrices.clear()


def _attend_and_keep(matrices: list[torch.Tensor], *args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
    output, weights = eager_attention_forward(*args, **kwargs)
    matrices.append(weights)
    return output, weights


class MemoryMeter(TorchDispatchMode):
    """The peak of the bytes that tensors made inside the block hold at once; only those that `counts` accepts.

    What a kernel takes for itself and gives back before it ends is not seen.
    """

    def __init__(self, counts: Callable[[torch.Tensor], bool] = lambda tensor: True) -> None:
        super().__init__()
        self.counts, self.peak, self._held = counts, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        given = {value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)}
        for tensor in output if isinstance(output, (tuple, list)) else (output,):
            # A view, or an operation in place, makes no new storage.
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self._note(tensor)
        return output

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self._held or not storage.nbytes() or not self.counts(tensor):
            return
        self._held[key] = storage.nbytes()
        weakref.finalize(storage, self._held.pop, key, None)
        self.peak = max(self.peak, sum(self._held.values()))


class MeteredPrompt(PrunedPrompt):
    """A request whose scoring and choosing run under a memory meter."""

    def __init__(self, *args, meter: MemoryMeter) -> None:
        super().__init__(*args)
        self.meter = meter

    def choose(self, *args) -> tuple[torch.Tensor, torch.Tensor]:
        """As `PrunedPrompt.choose`."""
        with self.meter:
            return super().choose(*args)


def check_same_tokens(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], recipe: PruningRecipe) -> None:
    """Both ways must be the same method: raise RuntimeError if they keep different tokens (2 may swap by rounding)."""
    kept = []
    for way in (prune_visual_tokens, published_way):
        with way(model, recipe) as trace:
            model(**inputs, use_cache=True, logits_to_keep=1)
        kept.append([set(tokens.tolist()) for tokens in trace.kept])
    different = [len(ours - theirs) for ours, theirs in zip(*kept, strict=True)]
    if max(different) > 2:
        raise RuntimeError(f"the published way keeps other tokens, {different} at each layer: no fair comparison")


def score_memory(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], recipe: PruningRecipe) -> tuple[int, int]:
    """Peak bytes of all that scoring makes here, and of the attention matrices alone in the published way."""
    ours = MemoryMeter()
    with pruned(model, recipe, find_method("fitprune"), partial(MeteredPrompt, meter=ours)):
        model(**inputs, use_cache=True, logits_to_keep=1)
    heads = model.config.text_config.num_attention_heads
    matrices = MemoryMeter(lambda tensor: tensor.dim() == 4 and tensor.shape[1] == heads and _is_square(tensor))
    with published_way(model, recipe), matrices:
        model(**inputs, use_cache=True, logits_to_keep=1)
    return ours.peak, matrices.peak


def _is_square(tensor: torch.Tensor) -> bool:
    """As many keys as queries; queries and keys themselves are not that."""
    return tensor.shape[-1] == tensor.shape[-2]
