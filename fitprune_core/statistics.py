"""Calibration: the attention that visual tokens receive at every layer of the unpruned model, sample by sample."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
from fitprune_core.token_groups import check_token_counts
from fitprune_core.visual_tokens import image_aspect

SCHEMA = 1
# With the token count of every sample: a version that reads schema 1 alone must not take padding for tokens.
SCHEMA_WITH_COUNTS = 2
ATTENTIONS = ("self_attention", "cross_attention")
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
        token_counts: visual tokens of each sample, int64 (samples,); None for as many as the arrays hold. LLaVA-NeXT's
            pictures have different ones: what follows a sample's last token in the arrays is 0 and stands for nothing.

    Raises ValueError naming the array that cannot be.
    """

    self_attention: np.ndarray
    cross_attention: np.ndarray
    model: str
    geometry: DecoderGeometry
    self_share: np.ndarray | None = None
    cross_share: np.ndarray | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    token_counts: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ATTENTIONS:
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

        self._check_shares()
        self._check_token_counts()

    def _check_shares(self) -> None:
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

    def _check_token_counts(self) -> None:
        counts = check_token_counts(self.token_counts, self.num_samples, self.num_visual_tokens)
        object.__setattr__(self, "token_counts", counts)
        for sample in np.flatnonzero(counts < self.num_visual_tokens):
            for name in ATTENTIONS:
                if getattr(self, name)[sample, :, counts[sample] :].any():
                    raise ValueError(f"{name} of sample {sample} goes on after its {counts[sample]} visual tokens")

    @property
    def num_samples(self) -> int:
        """Samples in the batch."""
        return self.self_attention.shape[0]

    @property
    def num_visual_tokens(self) -> int:
        """Visual tokens of the sample that has most."""
        return self.self_attention.shape[2]

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz file; folders are made as needed, and a file that is there is replaced whole."""
        arrays = {name: getattr(self, name) for name in (*ATTENTIONS, *SHARES)}
        known = {name: values for name, values in arrays.items() if values is not None}
        write_statistics(path, known, self.token_counts, self.model, self.geometry, self.provenance)

    @classmethod
    def load(cls, path: str | os.PathLike) -> AttentionStatistics:
        """Read what `save` wrote. Raises ValueError naming the file and what is wrong with it."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                schema = about.pop("schema")
                if schema not in (SCHEMA, SCHEMA_WITH_COUNTS):
                    raise ValueError(f"schema is {schema}; this version reads {SCHEMA} and {SCHEMA_WITH_COUNTS}")
                return cls(
                    *(arrays[name] for name in ATTENTIONS),
                    about.pop("model"),
                    DecoderGeometry(**about.pop("geometry")),
                    **{name: arrays[name] for name in SHARES if name in arrays},
                    provenance=about,
                    token_counts=arrays["token_counts"] if schema == SCHEMA_WITH_COUNTS else None,
                )
        except OSError as error:
            raise ValueError(f"cannot read statistics {path}: {error.strerror or error}") from error
        except KeyError as error:
            raise ValueError(f"statistics {path} have no {error.args[0]}") from error
        except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"statistics {path}: {error}") from error


class Rows(NamedTuple):
    """An array that is never in memory as a whole: its shape, and float32 pieces whose numbers make it up in order."""

    shape: tuple[int, ...]
    pieces: Iterable[np.ndarray]


def write_statistics(
    path: str | os.PathLike,
    arrays: Mapping[str, np.ndarray | Rows],
    token_counts: np.ndarray,
    model: str,
    geometry: DecoderGeometry,
    provenance: Mapping[str, str],
) -> None:
    """Write the file of an `AttentionStatistics`, its fields given one by one, so that arrays can be streamed.

    Folders are made as needed, and a file that is there is replaced whole, once the new one is on the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    width = arrays["self_attention"].shape[-1]
    is_unequal = bool((token_counts < width).any())
    about = {"schema": SCHEMA_WITH_COUNTS if is_unequal else SCHEMA, "model": model, "geometry": asdict(geometry)}
    members = {**arrays, **({"token_counts": token_counts} if is_unequal else {})}
    members["about"] = np.array(json.dumps(about | dict(provenance)))
    partial_path = path.with_name(path.name + ".partial")
    with open(partial_path, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in members.items():
                # As numpy does it: the final size is not known yet when a member begins.
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _write_array(member, array)
        file.flush()
        os.fsync(file.fileno())
    partial_path.replace(path)


def _write_array(member: Any, array: np.ndarray | Rows) -> None:
    """Write an array in numpy's own format into a member of an archive."""
    if isinstance(array, np.ndarray):
        np.lib.format.write_array(member, array, allow_pickle=False)
        return
    descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    np.lib.format.write_array_header_1_0(member, {"descr": descr, "fortran_order": False, "shape": array.shape})
    for piece in array.pieces:
        member.write(np.ascontiguousarray(piece, dtype=np.float32).tobytes())


def provenance_of(model: PreTrainedModel, processor: ProcessorMixin) -> dict[str, str]:
    """What figures depend on beside a model's weights: its pictures' aspect, versions of the libraries, its dtype."""
    return {
        "image_aspect": image_aspect(model.config, processor),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(model.dtype),
    }


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

    Pictures may have different token counts. Raises ValueError for an empty batch, and what `decoder.borrowed` refuses.
    For a samples file of any size there is `calibration.calibrate`.
    """
    total = len(samples) if hasattr(samples, "__len__") else None
    rows: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    for image, question in samples:
        inputs = build_inputs(processor, image, question).to(model.device)
        received, share = observe(model, inputs)
        rows.append(received)
        shares.append(share)
        if progress is not None:
            progress(len(rows), total)
    if not rows:
        raise ValueError("there are no samples to collect statistics from")
    counts = np.array([received.shape[-1] for received in rows])
    attention = np.zeros((2, len(rows), rows[0].shape[1], counts.max()), dtype=np.float32)
    for sample, received in enumerate(rows):
        attention[:, sample, :, : counts[sample]] = received
    return AttentionStatistics(
        *attention,
        model_name(model),
        DecoderGeometry.from_config(model.config),
        *np.stack(shares, axis=1),
        provenance={"source": source, **provenance_of(model, processor)},
        token_counts=counts,
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
