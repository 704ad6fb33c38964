"""What the tiny checkpoints of several families share: a tokenizer of bytes, and weights at a scale that shows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast


def byte_tokenizer(special: Sequence[str], plain: Sequence[str] = (), **options) -> PreTrainedTokenizerFast:
    """One token a byte; the special pieces first, by their numbers, then `plain` ones that are text but not split.

    options: of the tokenizer, such as `eos_token`; nothing opens a text.
    """
    pieces = [*special, *plain, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in special])
    backend.add_tokens([AddedToken(piece, normalized=False) for piece in plain])
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **options)


def scale_weights(model: PreTrainedModel, seed: int) -> None:
    """Draw weights at the scale that keeps activations at one, norms that differ; queries and keys larger, for peaked
    attention.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                middle = 1.0 if ("norm" in name or "lambda" in name) and not name.endswith("bias") else 0.0
                weight.copy_(middle + 0.1 * torch.randn(weight.shape, generator=generator))
                continue
            gain = 1.6 if ("q_proj" in name or "k_proj" in name) else 1.0
            fan_in = 1 if "embed_tokens" in name or weight.shape[0] == 1 else weight[0].numel()
            weight.normal_(0, gain / math.sqrt(fan_in), generator=generator)


def write_json(path: Path, entries: dict) -> None:
    """Write one of a checkpoint's files."""
    path.write_text(json.dumps(entries, indent=2), encoding="utf-8")
