"""What visual tokens receive at every layer of the unpruned model, collected sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.decoder import DecoderAttention, attend, decoder_layers
from fitprune_core.models.exclusive import borrowed, free_model, replace
from fitprune_core.models.family import visual_mask
from fitprune_core.models.loading import model_name
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.models.provenance import provenance_of
from fitprune_core.pruning.attention import without_autocast
from fitprune_core.pruning.prompt import Prompt
from fitprune_core.recipes.statistics import AttentionStatistics
from fitprune_core.run.asked import LONGEST_OF_DATA, as_asked


def collect_statistics(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: Iterable[tuple[Image.Image, str]],
    *,
    progress: Callable[[int, int | None], None] | None = None,
    source: str = "",
) -> AttentionStatistics:
    """Run the unpruned model on (picture, question) pairs and keep what its visual tokens receive at every layer.

    Each layer's attention runs by the model's own backend and is reduced to two numbers a token on the spot
    (`attention.LayerAttention`). progress: called after every sample with samples done and, where `samples` has a
    length, samples in all. source: where the samples come from, in words, kept in the provenance.

    Pictures are turned upright and questions stripped, as everywhere (`run.asked`); pictures may have different token
    counts. Raises ValueError for an empty batch, a picture or question that cannot be asked about, and for what
    `exclusive.borrowed` refuses. For a samples file of any size there is `calibration.calibrate`.
    """
    model = free_model(model)
    total = len(samples) if isinstance(samples, Sized) else None
    rows: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    for image, question in samples:
        inputs = as_asked(model, processor, image, question, longest=LONGEST_OF_DATA).inputs.to(model.device)
        ((received, share),) = observe(model, inputs)
        rows.append(received)
        shares.append(share)
        if progress is not None:
            progress(len(rows), total)
    if not rows:
        raise ValueError("there are no samples to collect statistics from")
    counts = np.array([received.shape[-1] for received in rows])
    attentions = np.zeros((2, len(rows), rows[0].shape[1], counts.max()), dtype=np.float32)
    for sample, received in enumerate(rows):
        attentions[:, sample, :, : counts[sample]] = received
    self_attention, cross_attention = attentions
    self_share, cross_share = np.stack(shares, axis=1)
    return AttentionStatistics(
        self_attention,
        cross_attention,
        model_name(model),
        DecoderGeometry.from_config(model.config),
        self_share,
        cross_share,
        provenance={"source": source, **provenance_of(model, processor)},
        token_counts=counts,
    )


def observe(model: PreTrainedModel, inputs: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """One unpruned run: for each prompt self- and cross-attention received, and the shares that they are parts of.

    inputs: of one prompt, from `build_inputs`, or of a batch with equally many visual tokens each, on the model's
    device. Returns float32 (2, layers, visual tokens) and (2, layers) for each, see `LayerAttention.observed`.
    Raises ValueError for a prompt without an image; MemoryError when the device runs out of memory.
    """
    is_visual = visual_mask(model.config, inputs["input_ids"])
    counts = set(is_visual.sum(dim=1).tolist())
    if len(counts) > 1 or 0 in counts:
        raise ValueError("statistics are collected from prompts with one image each, of equally many visual tokens")
    prompt = Prompt(is_visual, inputs.get("attention_mask"))
    layers: list[list[tuple[torch.Tensor, torch.Tensor]]] = []

    def run() -> None:
        with observed(model, prompt, layers), torch.no_grad():
            # The decoder alone: the language-model head would add nothing.
            model.model(**inputs, use_cache=False)

    with_memory_explained(run, model.device, f"a prompt of {is_visual.shape[1]} tokens")
    found = []
    for of_sample in zip(*layers, strict=True):
        received, shares = zip(*of_sample, strict=True)
        found.append((torch.stack(received, dim=1).cpu().numpy(), torch.stack(shares, dim=1).cpu().numpy()))
    return found


@contextmanager
def observed(
    model: PreTrainedModel, prompt: Prompt, layers: list[list[tuple[torch.Tensor, torch.Tensor]]]
) -> Iterator[None]:
    """Inside the block every layer appends what `LayerAttention.observed` finds in it, for each sample."""
    attentions = [layer.self_attn for layer in decoder_layers(model)]
    forwards = [(module, "forward", partial(_attend_and_reduce, module, prompt, layers)) for module in attentions]
    with borrowed(model) as undo:
        replace(undo, forwards)
        yield


def _attend_and_reduce(
    attention: DecoderAttention,
    prompt: Prompt,
    layers: list[list[tuple[torch.Tensor, torch.Tensor]]],
    hidden_states: torch.Tensor,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stands in for an attention's forward: the same output, and its visual tokens' scores on the side."""
    output, weights, attended = attend(attention, hidden_states, **kwargs)
    samples = range(attended.query.shape[0])
    with without_autocast(attended.query.device):
        layers.append([prompt.attention_of(sample, attended).observed() for sample in samples])
    return attention.o_proj(output), weights
