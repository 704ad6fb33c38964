"""Several prompts as one batch: which go together, how they are padded, and how many fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import BatchFeature, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from fitprune_core.checks.words import shown
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.family import visual_mask
from fitprune_core.models.memory import free_memory, with_memory_explained

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

# "auto" goes no further: beyond it a batch saves little more, and a run that is killed loses more.
LARGEST_AUTO = 16
# Items that wait for others of their kind are held in memory: so many batches of them at most.
WAITING_BATCHES = 4


def kind_of(inputs: BatchFeature, model_config: PretrainedConfig) -> Hashable:
    """What prompts of one batch have in common: how many visual tokens, and the shape of their pictures.

    inputs: of one prompt, from `build_inputs`. Pictures of equal shape need no padding, so that none can show.
    """
    ids = inputs["input_ids"]
    shapes = [(name, tuple(values.shape[1:])) for name, values in sorted(inputs.items()) if values.shape != ids.shape]
    return int(visual_mask(model_config, ids).sum()), *shapes


def padded_together(prompts: Sequence[BatchFeature], tokenizer: PreTrainedTokenizerBase) -> BatchFeature:
    """Prompts of one kind (`kind_of`) as one batch, padded on the left; one prompt alone is left as it is.

    What has a value for each token is padded: ids by the padding token, where the tokenizer has none by the
    end-of-sequence token (nothing sees it), and the rest, as the attention mask, by 0. All
    else is of pictures, and joined.
    """
    if len(prompts) == 1:
        return prompts[0]
    longest = max(prompt["input_ids"].shape[1] for prompt in prompts)
    filler = next(token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if token is not None)
    together = {}
    for name, first in prompts[0].items():
        parts = [prompt[name] for prompt in prompts]
        if first.shape == prompts[0]["input_ids"].shape:
            value = filler if name == "input_ids" else 0
            parts = [torch.nn.functional.pad(part, (longest - part.shape[1], 0), value=value) for part in parts]
        together[name] = torch.cat(parts)
    return BatchFeature(together)


class BatchSize:
    """How many prompts go at once; halved for good whenever memory runs out.

    asked: a number from 1 up, or "auto": as many as the free memory of the model's device holds, by the first prompt,
    but `LARGEST_AUTO` at most. Raises ValueError, naming it, for anything else.
    """

    def __init__(self, asked: int | str) -> None:
        self._size = check_batch_size(asked)

    def of(self, model: PreTrainedModel, inputs: BatchFeature, new_tokens: int) -> int:
        """The size now. inputs: of the prompt at hand; new_tokens: the longest answer."""
        if self._size is None:
            self._size = fitting(model, inputs, new_tokens)
            logger.info("auto: %d prompts at once", self._size)
        return self._size

    def work_in_parts(
        self,
        work: Callable[[Sequence[Item]], None],
        items: Sequence[Item],
        device: torch.device,
        name_of: Callable[[Item], str],
    ) -> None:
        """Do `work` for all items, at once or, when memory runs out, in halves.

        One alone that needs more raises MemoryError with its name. What `work` had done of a batch before memory ran
        out it is asked to do again.
        """
        at, size = 0, len(items)
        while at < len(items):
            part = items[at : at + size]
            what = name_of(part[0]) if len(part) == 1 else f"{len(part)} prompts at once"
            try:
                with_memory_explained(partial(work, part), device, what)
            except MemoryError:
                if len(part) == 1:
                    raise
                size = max(len(part) // 2, 1)
                self._size = size if self._size is None else min(self._size, size)
                logger.warning("memory ran out on %d prompts at once; going on with %d", len(part), size)
            else:
                at += len(part)


def check_batch_size(asked: Any) -> int | None:
    """A batch size as a number, None for "auto". Raises ValueError for anything else, naming it."""
    if asked == "auto":
        return None
    if isinstance(asked, bool) or not str(asked).isdecimal() or int(asked) < 1:
        raise ValueError(f"batch_size is {shown(asked)}; it must be a whole number from 1 up, or auto")
    return int(asked)


def fitting(model: PreTrainedModel, inputs: BatchFeature, new_tokens: int) -> int:
    """How many prompts like this one fit into half of what is free on the model's device, from 1 to `LARGEST_AUTO`.

    A prompt is reckoned as its keys and values in all layers, what one layer holds at once, and its pictures in the
    vision tower. A device that does not say what is free gets one at a time.
    """
    free = free_memory(model.device)
    if free is None:
        return 1
    geometry = DecoderGeometry.from_config(model.config)
    rows = inputs["input_ids"].shape[1] + new_tokens
    cached = 2 * geometry.num_layers * geometry.kv_width
    at_work = 8 * geometry.hidden_size + 3 * geometry.intermediate_size + 3 * geometry.query_width
    pictures = sum(values.numel() for values in inputs.values() if values.is_floating_point())
    # A tower's activations, layer by layer, are some tens of times its pixels.
    numbers = rows * (cached + at_work) + 32 * pictures
    return max(1, min(LARGEST_AUTO, free // 2 // (numbers * model.dtype.itemsize)))


def in_batches(items: Iterable[tuple[Hashable, Item]], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Items of one kind together, in batches of `size`, which is asked with each item.

    items: with their kind. So many may wait for others of their kind: when the limit is reached, the largest waiting
    group is yielded, and at the end all are. Order within a kind is kept.
    """
    waiting: dict[Hashable, list[Item]] = {}
    for kind, item in items:
        most = size(item)
        waiting.setdefault(kind, []).append(item)
        if len(waiting[kind]) >= most:
            yield waiting.pop(kind)
        elif sum(map(len, waiting.values())) >= WAITING_BATCHES * most:
            yield waiting.pop(max(waiting, key=lambda kind: len(waiting[kind])))
    yield from waiting.values()
