"""Whether this library can work inside a model's decoder, found out by looking at its modules and by trying them.

What `decoder.attend` and `pruning.layers` repeat of a layer is little: its norms, projections, the norms of queries
and keys, rotary embedding, attention, and the MLP. A layer that holds anything else (further norms, soft caps, windows,
sinks, multipliers, experts) would run silently wrong, so it is refused by its names; and because the same names can
compute something else (Ernie's interleaved rotary embedding, a forward that somebody replaced), a few rows are run both
ways, once for each kind of layer of a model.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from fitprune_core.checks.words import shown
from fitprune_core.models.decoder import DecoderLayer, attend, decoder_layers
from fitprune_core.models.family import family_of
from fitprune_core.models.turns import exclusive_use

# Names of sub-modules: those that must be there, and those that may be.
_LAYER: tuple[set[str], set[str]] = ({"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}, set())
_ATTENTION = ({"q_proj", "k_proj", "v_proj", "o_proj"}, {"q_norm", "k_norm"})
_MLP = ({"gate_proj", "up_proj", "down_proj"}, {"act_fn"})

# Settings that change nothing here, or that `attend` reads, or that are looked at below.
_SETTINGS = {
    *("config", "layer_idx", "layer_type", "attention_type", "hidden_size", "intermediate_size", "head_dim"),
    *("num_heads", "num_key_value_heads", "num_key_value_groups", "attention_dropout", "scaling", "is_causal"),
    *("sliding_window", "rope_parameters", "gradient_checkpointing"),
    *("training", "forward"),  # every module's; the second where somebody (accelerate, a compiler) has replaced it
}

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_PROBE_ROWS = 5
# The two ways run the same operations on a few rows; only rounding may tell them apart. Relative to the largest output.
_PROBE_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

# The kinds of layers (`_kinds`) of which a few rows were run, by the model that was looked at.
_probed: weakref.WeakKeyDictionary[PreTrainedModel, Set[Any]] = weakref.WeakKeyDictionary()


def check_decoder(model: PreTrainedModel) -> None:
    """Raise ValueError, saying why, for a model whose layers this library cannot work inside.

    A model with a kind of layer that was not seen in it before is held while a few rows are run through it, whose hooks
    would act on what another thread runs as well.
    """
    family_of(model).check(model.config)
    text = model.config.text_config
    for index, layer in enumerate(decoder_layers(model)):
        if trouble := next(_troubles(layer, text), None):
            raise ValueError(f"layer {index + 1} of the decoder, of type {shown(text.model_type)}, {trouble}")
    if any(weight.is_meta for weight in model.parameters()):
        raise ValueError("the model has weights on no device (offloaded, or not loaded); load it whole on one device")
    devices = {str(device) for device in (getattr(model, "hf_device_map", None) or {}).values()}
    if len(devices) > 1:
        raise ValueError(f"the model is spread over {', '.join(sorted(devices))}; load it on one device")
    # Each process would score by its own heads alone, and drop other tokens than the next.
    if (parts := model.tp_size or 1) > 1:
        raise ValueError(
            f"the model is split among {parts} processes (tensor parallelism); load it whole on one device"
        )
    if model.training and model.is_activation_checkpointing:
        raise ValueError("the model is training with gradient checkpointing; call model.eval() or switch it off")
    # With dropout two runs differ anyway.
    if not model.training and not _kinds(model).keys() <= _probed.get(model, set()):
        with exclusive_use(model):
            kinds = _kinds(model)  # another thread's block had layers of its own until now
            _probe(model, kinds)
        _probed[model] = kinds.keys()


def _troubles(layer: DecoderLayer, text_config: Any) -> Iterator[str]:
    """What is in a decoder layer that is not repeated here, in words that follow "layer 3 ..."."""
    yield from _strangers("", layer, *_LAYER)
    attention = layer.self_attn
    yield from _strangers("self_attn.", attention, *_ATTENTION)
    yield from _strangers("mlp.", layer.mlp, *_MLP)
    window = getattr(attention, "sliding_window", getattr(text_config, "sliding_window", None))
    if window is not None:
        yield f"attends in a sliding window of {window}, and only full attention works"
    kind = getattr(attention, "layer_type", None)
    if kind not in (None, "full_attention"):
        yield f"is of kind {kind!r}, and only full attention works"
    if not getattr(attention, "is_causal", True):
        yield "attends to what comes later as well (is_causal is false)"
    # A module takes a while to say that it has no such attribute, and every block asks.
    norms = {name: attention._modules[name] for name in ("q_norm", "k_norm") if name in attention._modules}
    if len(norms) == 1:
        yield f"has {next(iter(norms))} alone, and queries and keys are normalised both or not at all"
    for name, norm in norms.items():
        width = getattr(norm, "weight", torch.empty(0)).numel()
        if width != attention.head_dim:
            yield f"has a {name} of width {width}, and only one of the head's {attention.head_dim} is repeated here"


def _strangers(place: str, module: nn.Module, needed: set[str], allowed: set[str]) -> Iterator[str]:
    """Names in a module that are not known, and names that are missing."""
    children = {name for name, _ in module.named_children()}
    if "_orig_mod" in children:
        part = place.rstrip(".")
        what, it = (f"has a {part} that is", part) if part else ("is", "layer")
        yield f"{what} compiled by itself, torch.compile({it}); compile it in its place instead, {it}.compile()"
    if missing := sorted(needed - children):
        yield f"has no {', '.join(place + name for name in missing)}"
    own = [*module._parameters, *module._buffers, *(name for name in vars(module) if name[0] != "_")]
    if unknown := sorted(children - needed - allowed | set(own) - _SETTINGS):
        yield f"holds {', '.join(place + name for name in unknown)}, which is not repeated here"


@torch.no_grad()
def _probe(model: PreTrainedModel, kinds: Mapping[Any, int]) -> None:
    """Run a few rows through a layer of each kind, by itself and as it is repeated here. Raises ValueError."""
    layers = decoder_layers(model)
    with _unobserved(model):
        hidden, kwargs = _first_arrival(model, layers[0])
        outputs = {
            index: (layers[index](hidden, **kwargs), _repeated(layers[index], hidden, kwargs))
            for index in kinds.values()
        }
    for index, (own, ours) in outputs.items():
        # Without the rows themselves, which are in both and may be larger than what a layer adds.
        own, ours = own.float() - hidden.float(), ours.float() - hidden.float()
        tolerance = _PROBE_TOLERANCE.get(hidden.dtype, 0.0)
        if not torch.allclose(own, ours, rtol=0, atol=tolerance * float(own.abs().max())):
            own_forwards = map(_own_forward, (layers[index], layers[index].self_attn))
            cause = (
                "; its forward was replaced, or its attention's: register a hook instead" if any(own_forwards) else ""
            )
            raise ValueError(
                f"layer {index + 1} of the decoder, a {type(layers[index]).__name__}, computes something else than "
                f"Llama's with the same parts (by up to {float((own - ours).abs().max()):.2g}){cause}"
            )


def _first_arrival(model: PreTrainedModel, layer: DecoderLayer) -> tuple[torch.Tensor, dict[str, Any]]:
    """What the first layer is called with for a few made-up rows, with the model's own positions."""
    caught: list[tuple[torch.Tensor, dict[str, Any]]] = []

    def catch(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        caught.append((args[0] if args else kwargs.pop("hidden_states"), kwargs))
        raise _Caught

    weight = layer.input_layernorm.weight
    count = _PROBE_ROWS * weight.numel()
    # A wave that no two rows share, whatever the width; no random numbers, whose state is the caller's.
    rows = torch.arange(count, dtype=torch.float32).mul(0.7).sin().view(1, _PROBE_ROWS, -1) * 2
    hook = layer.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        model.get_decoder()(inputs_embeds=rows.to(weight.device, weight.dtype), use_cache=False)
    except _Caught:
        pass
    finally:
        hook.remove()
    return caught[0]


def _repeated(layer: DecoderLayer, hidden: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
    """What a layer makes of rows, by the lines that pruning repeats."""
    of_attention = {"attention_mask": None, "past_key_values": None, **kwargs}
    heads, _, _ = attend(layer.self_attn, layer.input_layernorm(hidden), **of_attention)
    after = hidden + layer.self_attn.o_proj(heads)
    return after + layer.mlp(layer.post_attention_layernorm(after))


@contextmanager
def _unobserved(model: nn.Module) -> Iterator[None]:
    """Keep the made-up rows from whoever listens to the model's modules."""
    hooks = [(module, name, vars(module)[name]) for module in model.modules() for name in _HOOKS]
    for module, name, of_module in hooks:
        vars(module)[name] = type(of_module)()
    try:
        yield
    finally:
        for module, name, of_module in hooks:
            vars(module)[name] = of_module


def _kinds(model: PreTrainedModel) -> dict[Any, int]:
    """The kinds of layers in a model, each with the number of its first: of one class, settings, parts and forward.

    A layer whose forward, or whose attention's, somebody has replaced is a kind of its own.
    """
    kinds: dict[Any, int] = {}
    backend = model.config.text_config._attn_implementation
    for index, layer in enumerate(decoder_layers(model)):
        attention = layer.self_attn
        settings = (getattr(attention, name, None) for name in ("scaling", "head_dim", "num_key_value_groups"))
        classes = ((type(module), weakref.ref(type(module).forward)) for module in (layer, attention))
        own = [_own_forward(module) for module in (layer, attention)]
        replaced = () if own == [None, None] else (index, *map(_remembered, own))
        kinds.setdefault((backend, *classes, "q_norm" in attention._modules, *settings, *replaced), index)
    return kinds


def _own_forward(module: nn.Module) -> Callable[..., Any] | None:
    """The forward that somebody has given to this module alone; None where it has its class's, compiled or not."""
    forward = vars(module).get("forward")
    if forward is None:
        return None
    forward = getattr(forward, "_torchdynamo_orig_callable", forward)
    return None if forward == MethodType(type(module).forward, module) else forward


def _remembered(forward: Callable[..., Any] | None) -> weakref.ref | None:
    """What tells a forward from all others, also from later ones, without keeping it, and so its model, alive."""
    if forward is None:
        return None
    return weakref.WeakMethod(forward) if isinstance(forward, MethodType) else weakref.ref(forward)


class _Caught(Exception):
    """Raised by `_first_arrival` to leave the decoder before its first layer."""
