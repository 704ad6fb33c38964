"""What a model's figures and answers depend on, in words: which weights, what becomes of a picture, which libraries."""

from __future__ import annotations

import hashlib
import json

import torch
import transformers
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.models.family import family_of
from fitprune_core.models.layout import image_aspect
from fitprune_core.models.loading import model_name

# So many characters of a digest are enough to tell things apart that nobody made alike on purpose.
SHORT = 16
# Numbers of every weight that go into the digest as they are, beside the sum of all: a sum does not see their order.
_NUMBERS = 16


def provenance_of(model: PreTrainedModel, processor: ProcessorMixin) -> dict[str, str]:
    """What figures depend on beside a model's weights: its pictures' aspect, versions of the libraries, its dtype.

    Where a model's first layers may not drop, `first_drop_layer` says which is the first that may: the fit, which knows
    no model, keeps to it.
    """
    first = family_of(model.config).first_drop_layer(model.config)
    return {
        **({"first_drop_layer": str(first)} if first else {}),
        "image_aspect": image_aspect(model.config, processor),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(model.dtype),
    }


def conditions_of(model: PreTrainedModel, processor: ProcessorMixin) -> dict[str, str]:
    """All that decides what a model says to a prompt, but for rounding: its provenance, weights and processor."""
    return {
        "model": model_name(model),
        **provenance_of(model, processor),
        "weights": weights_digest(model),
        "processor": processor_digest(processor),
    }


def weights_digest(model: PreTrainedModel) -> str:
    """A digest of all weights and buffers that are saved, the same on every device: 16 hexadecimal digits.

    Of each the first numbers are taken as they are, and of all the sum as whole numbers, which no order of summing
    changes. It runs as fast as memory is read: seconds for a 7B model on a CPU.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if not isinstance(weight, torch.Tensor):  # a quantised module keeps more than tensors
            digest.update(f"{name} {weight!r}".encode())
            continue
        flat = weight.detach().reshape(-1)
        digest.update(f"{name} {flat.dtype} {tuple(weight.shape)}".encode())
        digest.update(_bytes_of(flat[:_NUMBERS]))
        # A view of a part of another tensor may not begin where whole numbers of eight bytes do.
        octets = (flat if flat.storage_offset() == 0 else flat.clone()).view(torch.uint8)
        whole = octets.shape[0] // 8 * 8
        digest.update(str(int(octets[:whole].view(torch.int64).sum())).encode())
        digest.update(_bytes_of(octets[whole:]))
    return digest.hexdigest()[:SHORT]


def processor_digest(processor: ProcessorMixin) -> str:
    """A digest of what turns a picture and a question into a prompt: chat template, image processor, vocabulary."""
    settings = {
        "template": processor.chat_template,
        "image_processor": processor.image_processor.to_dict(),
        "vocabulary": sorted(processor.tokenizer.get_vocab().items()),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:SHORT]


def _bytes_of(values: torch.Tensor) -> bytes:
    return values.contiguous().view(torch.uint8).cpu().numpy().tobytes()
