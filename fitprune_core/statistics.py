"""Calibration: the attention that visual tokens receive at every layer of the unpruned model, sample by sample."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.decoder import attend, borrowed, decoder_layers, replaced
from fitprune_core.flops import DecoderGeometry
from fitprune_core.generation import with_memory_explained
from fitprune_core.loading import build_inputs, model_name
from fitprune_core.request import Prompt
from fitprune_core.visual_tokens import image_aspect

SCHEMA = 1
SHARES = ("self_share", "cross_share")


@dataclass(frozen=True)
class AttentionStatistics:
    """Attention received by each visual token, head-wise maximum (arXiv 2409.10197), for a batch of samples.

    Attributes:
        self_attention: from the mean visual token, float32 (samples, layers, visual tokens).
        cross_attention: from the mean text token after the image, likewise.
        model: name of the checkpoint.
        geometry: sizes of its decoder.
        self_share: how much of all attention of the visual tokens goes to visual tokens, mean over queries and heads,
            float32 (samples, layers), or None where it is not known. The fit estimates from it how attention is spread
            anew when tokens are gone.
        cross_share: the same for the text after the image.
        provenance: where the figures come from, in words: the samples, what became of the pictures' aspect ratio, the
            versions of torch and transformers.

    Raises ValueError naming the array that cannot be.
    """

    self_attention: np.ndarray
    cross_attention: np.ndarray
    model: str
    geometry: DecoderGeometry
    self_share: np.ndarray | None = None
    cross_share: np.ndarray | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("self_attention", "cross_attention"):
            values = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            object.__setattr__(self, name, values)
            if values.ndim != 3 or 0 in values.shape:
                raise ValueError(f"{name} has shape {values.shape}; it needs (samples, layers, visual tokens)")
            if values.shape[1] != self.geometry.num_layers:
                raise ValueError(f"{name} has {values.shape[1]} layers; {self.model} has {self.geometry.num_layers}")
            if not np.isfinite(values).all() or values.min() < 0:
                raise ValueError(f"{name} holds values that are negative or no numbers")
        if self.self_attention.shape != self.cross_attention.shape:
            raise ValueError(
                f"self_attention has shape {self.self_attention.shape}, cross_attention {self.cross_attention.shape}"
            )

        for name in SHARES:
            if getattr(self, name) is None:
                continue
            shares = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            object.__setattr__(self, name, shares)
            if shares.shape != self.self_attention.shape[:2]:
                raise ValueError(f"{name} has shape {shares.shape}; it needs (samples, layers)")
            # A softmax may add up to a little more than 1.
            if not ((shares >= 0) & (shares <= 1.001)).all():
                raise ValueError(f"{name} holds values that are no shares")

    @property
    def num_samples(self) -> int:
        """Samples in the batch."""
        return self.self_attention.shape[0]

    @property
    def num_visual_tokens(self) -> int:
        """Visual tokens of every sample."""
        return self.self_attention.shape[2]

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz file; folders are made as needed, and a file that is there is replaced whole."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"schema": SCHEMA, "model": self.model, "geometry": asdict(self.geometry), **self.provenance}
        partial_path = path.with_name(path.name + ".partial")
        arrays = {name: getattr(self, name) for name in ("self_attention", "cross_attention", *SHARES)}
        known = {name: values for name, values in arrays.items() if values is not None}
        with open(partial_path, "wb") as file:
            np.savez_compressed(file, **known, about=np.array(json.dumps(about)))
        partial_path.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> AttentionStatistics:
        """Read what `save` wrote. Raises ValueError naming the file and what is wrong with it."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                if about.pop("schema") != SCHEMA:
                    raise ValueError(f"this version reads schema {SCHEMA}")
                return cls(
                    arrays["self_attention"],
                    arrays["cross_attention"],
                    about.pop("model"),
                    DecoderGeometry(**about.pop("geometry")),
                    **{name: arrays[name] for name in SHARES if name in arrays},
                    provenance=about,
                )
        except OSError as error:
            raise ValueError(f"cannot read statistics {path}: {error.strerror or error}") from error
        except KeyError as error:
            raise ValueError(f"statistics {path} have no {error.args[0]}") from error
        except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"statistics {path}: {error}") from error


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

    Raises ValueError for an empty batch, samples with different token counts, and what `decoder.borrowed` refuses.
    """
    total = len(samples) if hasattr(samples, "__len__") else None
    rows: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    for image, question in samples:
        inputs = build_inputs(processor, image, question).to(model.device)
        received, share = observe(model, inputs)
        rows.append(received)
        shares.append(share)
        if rows[-1].shape != rows[0].shape:
            raise ValueError(
                f"sample {len(rows)} has {rows[-1].shape[-1]} visual tokens and the first {rows[0].shape[-1]}; "
                "statistics need pictures of one token count"
            )
        if progress is not None:
            progress(len(rows), total)
    if not rows:
        raise ValueError("there are no samples to collect statistics from")
    attention, share = np.stack(rows, axis=1), np.stack(shares, axis=1)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "dtype": str(model.dtype)}
    aspect = image_aspect(model.config, processor)
    return AttentionStatistics(
        attention[0],
        attention[1],
        model_name(model),
        DecoderGeometry.from_config(model.config),
        share[0],
        share[1],
        {"source": source, "image_aspect": aspect, **versions},
    )


def observe(model: PreTrainedModel, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    """One unpruned run: self- and cross-attention received, and the shares that they are parts of.

    inputs: of one prompt, from `build_inputs`, on the model's device. Returns float32 (2, layers, visual tokens) and
    (2, layers); see `attention.LayerAttention.observed`. Raises MemoryError when the device runs out of memory.
    """
    is_visual = inputs["input_ids"] == model.config.image_token_id
    if is_visual.shape[0] != 1 or not is_visual.any():
        raise ValueError("statistics are collected from one prompt with one image at a time")
    prompt = Prompt(is_visual, inputs.get("attention_mask"))
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def run() -> None:
        with observed(model, prompt, layers), torch.no_grad():
            # The decoder alone: the language-model head would add nothing.
            model.model(**inputs, use_cache=False)

    with_memory_explained(run, model.device, f"a prompt of {is_visual.shape[1]} tokens")
    received, shares = zip(*layers, strict=True)
    return torch.stack(received, dim=1).cpu().numpy(), torch.stack(shares, dim=1).cpu().numpy()


@contextmanager
def observed(model: PreTrainedModel, prompt: Prompt, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[None]:
    """Inside the block every layer appends what `LayerAttention.observed` finds in it."""
    attentions = [layer.self_attn for layer in decoder_layers(model)]
    forwards = [(module, "forward", partial(_attend_and_reduce, module, prompt, layers)) for module in attentions]
    with borrowed(model), replaced(forwards):
        yield


def _attend_and_reduce(
    attention: nn.Module,
    prompt: Prompt,
    layers: list[tuple[torch.Tensor, torch.Tensor]],
    hidden_states: torch.Tensor,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stands in for an attention's forward: the same output, and its visual tokens' scores on the side."""
    output, weights, attended = attend(attention, hidden_states, **kwargs)
    layers.append(prompt.attention_of(0, attended).observed())
    return attention.o_proj(output), weights
