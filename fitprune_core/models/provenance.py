"""What a model's figures and answers depend on, in words: which weights, what becomes of a picture, which libraries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

import torch
import transformers
from transformers import PreTrainedModel, ProcessorMixin

from fitprune_core.models.family import family_of
from fitprune_core.models.layout import image_aspect
from fitprune_core.models.loading import model_name
from fitprune_core.models.others_code import SHORT, bytes_of, code_digest, name_of, package_of

# Numbers of every weight that go into the digest as they are, beside the sum of all: a sum does not see their order.
_NUMBERS = 16
# Whose hooks and forwards belong to the model as it is, or to whoever observes it.
_OF_ITSELF = {"transformers", "accelerate", "torch", "fitprune_core"}
# Of what was put on a model so many are said in words; a digest stands for the others.
_SAID = 3


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
    """All that decides what a model says to a prompt, but for rounding: its provenance, weights and processor.

    Adapters, hooks and replaced forwards are said behind the digest of the weights, which alone do not decide then.
    """
    added = [*_adapters_of(model), *_summed_up("hooks", _hooks_of(model))]
    return {
        "model": model_name(model),
        **provenance_of(model, processor),
        "weights": " with ".join([weights_digest(model), ", ".join(added)]) if added else weights_digest(model),
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
        digest.update(bytes_of(flat[:_NUMBERS]))
        # A view of a part of another tensor may not begin where whole numbers of eight bytes do.
        octets = (flat if flat.storage_offset() == 0 else flat.clone()).view(torch.uint8)
        whole = octets.shape[0] // 8 * 8
        digest.update(str(int(octets[:whole].view(torch.int64).sum())).encode())
        digest.update(bytes_of(octets[whole:]))
    return digest.hexdigest()[:SHORT]


def processor_digest(processor: ProcessorMixin) -> str:
    """A digest of what turns a picture and a question into a prompt: chat template, image processor, vocabulary."""
    settings = {
        "template": processor.chat_template,
        "image_processor": processor.image_processor.to_dict(),
        "vocabulary": sorted(processor.tokenizer.get_vocab().items()),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:SHORT]


def _adapters_of(model: PreTrainedModel) -> list[str]:
    """How adapters (peft's) in a model are switched, at most a few words, each once; nothing where it has none.

    Their weights are among the model's, whether they are in use or not.
    """
    states = []
    for name, module in model.named_modules():
        is_off = getattr(module, "disable_adapters", None)
        if not isinstance(is_off, bool):  # a model has a method of this name
            continue
        chosen = getattr(module, "active_adapters", ())
        scaling = getattr(module, "scaling", None)
        of_chosen = [f"{scaling[each]:g}" for each in chosen if each in scaling] if isinstance(scaling, dict) else []
        details = [f"scaled by {' and '.join(of_chosen)}"] if of_chosen else []
        details += ["merged"] * bool(getattr(module, "merged", False)) + ["switched off"] * is_off
        words = f"adapters {' and '.join(chosen)}"
        states.append((name, f"{words} ({', '.join(details)})" if details else words))
    kinds = {words for _, words in states}
    return sorted(kinds) if len(kinds) <= 1 else _summed_up("adapters", [f"{name}: {words}" for name, words in states])


def _hooks_of(model: PreTrainedModel) -> Iterator[str]:
    """Where somebody has put a hook or a forward of their own on a model, what it is called, and its code."""
    for name, module in model.named_modules():
        own = vars(module).get("forward")
        for kind, functions in (
            ("hook", module._forward_pre_hooks.values()),
            ("hook", module._forward_hooks.values()),
            ("forward", [] if own is None else [own]),
        ):
            for function in functions:
                if package_of(function) not in _OF_ITSELF:
                    yield f"{kind} {name_of(function)} ({code_digest(function)}) on {name or 'the model'}"


def _summed_up(what: str, several: Iterable[str]) -> list[str]:
    """Some things in words, and a digest of all where there are more."""
    several = list(several)
    if len(several) > _SAID:
        digest = hashlib.sha256("\n".join(several).encode()).hexdigest()[:SHORT]
        return [*several[:_SAID], f"and {len(several) - _SAID} more {what} ({digest} in all)"]
    return several
