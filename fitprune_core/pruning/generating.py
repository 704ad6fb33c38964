"""Which ways to generate suit a pruned cache: one whole prompt, then what follows it, each layer at its own length."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from transformers import PreTrainedModel

from fitprune_core.models.family import visual_mask

STATIC_CACHES = ("static", "offloaded_static", "hybrid", "sliding_window", "offloaded_hybrid", "hybrid_chunked")

# Options of `generate` that ask for something else: when they do, and what it is.
UNSUITED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "prefill_chunk_size": (lambda value: value is not None, "a prompt that is read in chunks"),
    "assistant_model": (lambda value: value is not None, "assisted generation"),
    "assistant_early_exit": (lambda value: value is not None, "assisted generation"),
    "is_assistant": (bool, "a model that assists another"),
    "use_mtp": (bool, "assisted generation"),
    "prompt_lookup_num_tokens": (lambda value: value is not None, "prompt lookup"),
    "penalty_alpha": (bool, "contrastive search"),
    "dola_layers": (lambda value: value is not None, "DoLa decoding"),
    "constraints": (lambda value: value is not None, "constrained beams"),
    "force_words_ids": (lambda value: value is not None, "constrained beams"),
    "num_beam_groups": (lambda value: (value or 1) > 1, "groups of beams"),
    "custom_generate": (lambda value: isinstance(value, str), "a way to generate that is code from elsewhere"),
    "cache_implementation": (lambda value: value == "paged", "continuous batching"),
}


def check_generation(
    generate: Callable[..., Any], model: PreTrainedModel, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Refuse what `generate(*args, **kwargs)` cannot do with visual tokens that go, however it is asked for it.

    An option counts where it is given, else in the configuration that is given, else in the model's own, as in
    `generate` itself. A prompt of text may be continued in any way. Raises ValueError.
    """
    given = dict(zip(inspect.signature(generate).parameters, args, strict=False)) | dict(kwargs)
    if not _may_lose_tokens(model, given):
        return

    def option(name: str) -> Any:
        if name in given:
            return given[name]
        chosen = getattr(given.get("generation_config"), name, None)
        return getattr(model.generation_config, name, None) if chosen is None else chosen

    for name, (is_asked, words) in UNSUITED.items():
        if is_asked(option(name)):
            raise ValueError(f"visual tokens cannot be pruned with {words} ({name}={_short(option(name))})")
    if option("cache_implementation") in STATIC_CACHES:
        raise ValueError("a static cache keeps every layer at one length; pruning needs the dynamic cache")


def refuse_continuous_batching(original: Callable[..., Any], *args: Any, **kwargs: Any) -> NoReturn:
    """Stands in for `model.init_continuous_batching`, on which `generate_batch` stands as well."""
    raise ValueError("visual tokens cannot be pruned with continuous batching; use generate")


def _may_lose_tokens(model: PreTrainedModel, given: Mapping[str, Any]) -> bool:
    """Whether the prompt may hold visual tokens, or a cache that held them."""
    ids = next((given[name] for name in ("inputs", "input_ids") if given.get(name) is not None), None)
    if given.get("past_key_values") is not None or given.get("inputs_embeds") is not None:
        return True
    return ids is not None and bool(visual_mask(model.config, ids).any())


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."
