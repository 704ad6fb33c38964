"""Drop visual tokens inside the layers while a stock LLaVA runs, and leave the model as it was found.

At a layer that drops, attention runs over every row that arrived, by the model's own backend; then the least important
visual tokens go, before the output projection, so that projection, MLP and every later layer see fewer rows
(arXiv 2409.10197). Positions are not renumbered. Layers that drop nothing run transformers' own forward.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.decoder import attend, decoder_layers
from fitprune_core.models.exclusive import borrowed, replaced
from fitprune_core.models.family import visual_mask
from fitprune_core.models.loading import model_name
from fitprune_core.pruning.methods import Method, find_method
from fitprune_core.pruning.prompt import PruningTrace, Request, take_rows
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops

__all__ = ["PruningTrace", "prune_visual_tokens"]

logger = logging.getLogger(__name__)

# Ways to generate that fill a cache otherwise than one whole prompt and then token by token.
UNSUITED_GENERATION = {
    "prefill_chunk_size": "a prompt that is read in chunks (prefill_chunk_size)",
    "assistant_model": "assisted generation (assistant_model)",
    "prompt_lookup_num_tokens": "prompt lookup (prompt_lookup_num_tokens)",
}


@contextmanager
def prune_visual_tokens(
    model: PreTrainedModel, recipe: PruningRecipe, *, method: str | Method = "fitprune"
) -> Iterator[PruningTrace]:
    """Inside the `with` block `model(...)` and `model.generate(...)` drop visual tokens; outside nothing has changed.

    recipe: how many go at each layer; for an image with another number of visual tokens it is scaled. method: which go,
    a name in `METHODS`, also with options ("random:seed=1"), or an instance. Yields the trace of the latest prompt: a
    new prompt starts it anew. A prompt without an image runs as it always does. Threads that prune one model take
    turns, block by block; to keep a model to yourself for longer, and for what holds of generators, see
    `decoder.exclusive_use`. A recipe of another checkpoint is warned about.

    Raises ValueError, here or at the call that cannot work, for: a recipe of another depth; a decoder that is not
    known, attends in a window, is spread over devices or trains with gradient checkpointing; a model that is being
    pruned already; images of different token counts in one batch; a static cache, a prompt in chunks, an image added
    to a filled cache; a mask that is not 2-D.
    """
    for warning in recipe.warnings_for(model_name(model)):
        logger.warning(warning)
    with pruned(model, recipe, find_method(method)) as trace:
        yield trace


@contextmanager
def pruned(
    model: PreTrainedModel,
    recipe: PruningRecipe,
    method: Method,
    make_request: Callable[[torch.Tensor, torch.Tensor | None, Drops, Method], Request] = Request,
) -> Iterator[PruningTrace]:
    """As `prune_visual_tokens`, without its warning and for any kind of request: each layer from the first that drops
    on asks it what goes.

    make_request: called with the arguments of `Request`, once for every prompt with an image.
    """
    with borrowed(model):
        recipe.check_model(len(decoder_layers(model)), model_name(model))
        pruner = _Pruner(model, recipe, method, make_request)
        hook = model.model.register_forward_pre_hook(pruner.before_model, with_kwargs=True)
        try:
            with replaced(pruner.replacements()):
                yield pruner.trace
        finally:
            hook.remove()


class _Pruner:
    """One `with` block: the forwards that stand in for the model's own, and the requests that run through them."""

    def __init__(
        self, model: PreTrainedModel, recipe: PruningRecipe, method: Method, make_request: Callable[..., Request]
    ) -> None:
        self.model, self.recipe, self.method, self.make_request = model, recipe, method, make_request
        self.config = model.config.text_config
        self.geometry = DecoderGeometry.from_config(self.config)
        # A budget that the method cannot meet is refused here, before any prompt.
        self.drops = bool(method.drops(recipe, self.geometry, recipe.num_visual_tokens))
        self.trace = PruningTrace()
        self.request: Request | None = None  # of the call that is running; None where nothing is to be done
        self.is_prefill = False
        self.padding: torch.Tensor | None = None
        self.masks: dict[int, Any] = {}  # of the call that is running, by the id of the rows that arrive
        self.of_cache: weakref.WeakKeyDictionary[Any, Request] = weakref.WeakKeyDictionary()

    def replacements(self) -> list[tuple[nn.Module, str, Any]]:
        """The instance attributes to replace: from the first layer that drops on, every layer has its own rows."""
        if not self.drops:
            return []
        first = 0
        if self.method.follows_recipe:
            first = next(index for index, count in enumerate(self.recipe.removed) if count)
        layers = list(enumerate(decoder_layers(self.model)))[first:]
        return [
            (self.model, "generate", partial(_checked_generate, self.model, self.model.generate)),
            *((layer, "forward", partial(self.layer_forward, index, layer, layer.forward)) for index, layer in layers),
        ]

    def before_model(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before every call of the LLaVA inside: find out whether it is a new prompt, and whose tokens these are."""
        ids = args[0] if args else kwargs.get("input_ids")
        cache = kwargs.get("past_key_values")
        self.padding, self.masks = kwargs.get("attention_mask"), {}
        filled = cache is not None and cache.get_seq_length() > 0
        if filled and (ids is None or ids.shape[1] == 1):
            self.go_on(cache)  # one new token: no look at its value, which would wait for the device
            return
        is_visual = None if ids is None else visual_mask(self.model.config, ids)
        has_image = is_visual is not None and bool(is_visual.any())
        if filled and has_image and self.drops:
            raise ValueError("an image came on top of a filled cache; give the whole prompt to an empty one, at once")
        if filled:
            self.go_on(cache)
        elif ids is None and self.drops:
            raise ValueError("inputs_embeds came without input_ids, which tell visual tokens from text; pass both")
        else:
            self.start(is_visual if has_image else None, cache)

    def start(self, is_visual: torch.Tensor | None, cache: Any) -> None:
        """A new prompt: begin its trace and its request. is_visual: (batch, length), or None for text alone."""
        num_layers = self.recipe.num_layers
        self.request, self.is_prefill = None, True
        if is_visual is None:
            self.trace.start(torch.zeros(1, 0, dtype=torch.long), num_layers)
            return
        counts = sorted(set(is_visual.sum(dim=1).tolist()))
        if len(counts) > 1:
            raise ValueError(
                f"the prompts of this batch have {' and '.join(map(str, counts))} visual tokens; counts must be equal"
            )
        tokens = torch.arange(counts[0], device=is_visual.device).expand(is_visual.shape[0], -1)
        self.trace.start(tokens, num_layers)
        drops = self.method.drops(self.recipe, self.geometry, counts[0])
        if drops:
            if getattr(cache, "is_compileable", False):
                raise ValueError("a static cache keeps every layer at one length; pruning needs the dynamic cache")
            self.check_padding()
            self.request = self.make_request(is_visual, self.padding, drops, self.method)

    def go_on(self, cache: Any) -> None:
        """A call on a cache that is filled: the request that filled it goes on."""
        self.is_prefill = False
        self.request = self.of_cache.get(cache)
        if self.request is not None:
            self.check_padding()
        elif self.drops and cache.get_seq_length(0) != cache.get_seq_length(self.recipe.num_layers - 1):
            raise ValueError("this cache was pruned outside this block, or copied; go on with it where it was filled")

    def check_padding(self) -> None:
        """Refuse a mask that is not the 2-D one of a processor."""
        if self.padding is not None and self.padding.dim() != 2:
            dimensions = self.padding.dim()
            raise ValueError(f"the attention mask has {dimensions} dimensions; give the 2-D one of the processor")

    def layer_forward(
        self, index: int, layer: nn.Module, original: Any, hidden_states: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """Stands in for a decoder layer's forward. hidden_states: (batch, rows that arrive, width)."""
        request = self.request
        if request is None or (not self.is_prefill and kwargs.get("attention_mask") is None):
            return original(hidden_states, **kwargs)
        if request.arriving[index] is not None:
            self.fit_to_layer(index, hidden_states, kwargs)
        if not (self.is_prefill and request.counts[index]):
            return original(hidden_states, **kwargs)
        if kwargs.get("past_key_values") is not None:
            self.of_cache[kwargs["past_key_values"]] = request
        if request.position_embeddings is None:
            request.position_embeddings = kwargs["position_embeddings"]
        return self.dropping_forward(index, layer, hidden_states, kwargs)

    def fit_to_layer(self, index: int, hidden_states: torch.Tensor, kwargs: dict) -> None:
        """Replace what transformers made once for all layers by what fits the rows of this one."""
        request = self.request
        if kwargs.get("attention_mask") is not None:
            rows = id(request.arriving[index])
            if rows not in self.masks:
                self.masks[rows] = request.mask_for(
                    index, hidden_states, self.padding, kwargs.get("past_key_values"), self.config
                )
            kwargs["attention_mask"] = self.masks[rows]
        if self.is_prefill:
            kwargs["position_embeddings"] = request.position_embeddings
            # Gaps between positions would make flash attention look for packed sequences.
            kwargs["position_ids"] = None

    def dropping_forward(self, index: int, layer: nn.Module, hidden_states: torch.Tensor, kwargs: dict) -> torch.Tensor:
        """A decoder layer that loses rows between its attention and its output projection.

        It follows `LlamaDecoderLayer.forward`; hidden_states: (batch, rows, width) to (batch, fewer rows, width).
        """
        kept_rows: torch.Tensor

        def attend_and_drop(hidden_states: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
            nonlocal kept_rows
            attention = layer.self_attn
            output, weights, attended = attend(attention, hidden_states, **kwargs)
            kept_rows = self.request.drop(index, attended, self.trace)
            return attention.o_proj(take_rows(output, kept_rows)), weights

        with replaced([(layer.self_attn, "forward", attend_and_drop)]):
            attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
        hidden_states = take_rows(hidden_states, kept_rows) + attended
        return hidden_states + layer.mlp(layer.post_attention_layernorm(hidden_states))


def _checked_generate(model: PreTrainedModel, generate: Any, *args: Any, **kwargs: Any) -> Any:
    """`model.generate`, after a look at how it is asked to generate."""
    config = kwargs.get("generation_config") or model.generation_config
    for name, words in UNSUITED_GENERATION.items():
        if kwargs.get(name, getattr(config, name, None)) is not None:
            raise ValueError(f"visual tokens cannot be pruned with {words}")
    return generate(*args, **kwargs)
