"""Drop visual tokens inside the layers while a stock LLaVA runs, and leave the model as it was found.

At a layer that drops, attention runs over every row that arrived, by the model's own backend; then the least important
visual tokens go, before the output projection, so that projection, MLP and every later layer see fewer rows
(arXiv 2409.10197). Positions are not renumbered. Layers that drop nothing run transformers' own forward.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from fitprune_core.models.decoder import decoder_layers
from fitprune_core.models.exclusive import borrowed, replace, uncompiled
from fitprune_core.models.loading import model_name
from fitprune_core.pruning.block import Block
from fitprune_core.pruning.methods import Method, find_method
from fitprune_core.pruning.paint import UNPAINTED, Paint
from fitprune_core.pruning.prompt import PrunedPrompt, PruningTrace
from fitprune_core.recipes.recipe import PruningRecipe, check_recipe
from fitprune_core.recipes.schedules import Drops

__all__ = ["PruningTrace", "prune_visual_tokens"]

logger = logging.getLogger(__name__)


@contextmanager
def prune_visual_tokens(
    model: PreTrainedModel,
    recipe: PruningRecipe,
    *,
    method: str | Method | type[Method] = "fitprune",
    stay: Sequence[int] = (),
    go: Sequence[int] = (),
) -> Iterator[PruningTrace]:
    """Inside the `with` block `model(...)` and `model.generate(...)` drop visual tokens; outside nothing has changed.

    recipe: how many go at each layer; for an image with another number of visual tokens it is scaled. method: which go,
    a name in `METHODS`, also with options ("random:seed=1"), or an instance. stay, go: visual tokens of the picture, by
    number, that must stay at every layer, or go before all others, whatever the method thinks of them; as many go at
    each layer as ever. Yields the trace of the latest prompt: a new prompt starts it anew, and what `generate` asks
    beside its prompt (guidance) leaves it alone. A prompt without an image runs as it always does, and so does what is
    given to the decoder alone. A recipe of another checkpoint is warned about.

    Threads that prune one model take turns, block by block; a block may be left on any thread
    (`exclusive.exclusive_use`). Threads inside one block take turns as well, call by call, and must end before it does.

    `logits` of `model(**inputs)` belong to the rows that the last layer leaves, in order: all text, and the visual
    tokens that were kept; `trace.positions` says where they stood. `labels` and `logits_to_keep` speak of positions of
    the prompt as it was given. Hidden states and attentions have the rows of their layer.

    A cache that was pruned lives in its block: a second turn on it works there, and is refused elsewhere, on a copy too
    (but not on a new cache of its tensors, which nothing tells from others). Without a cache every step of `generate`
    drops what the first dropped; calls of one's own are new prompts. A compiled model runs uncompiled inside the block.

    Raises ValueError, here or at the call that cannot work, for: a recipe of another depth; a decoder that is not
    known, attends in a window, is spread over devices, offloaded, or trains with gradient checkpointing; a model that
    is being pruned already; images of different token counts in one batch; a static cache, an image added to a filled
    cache, a cache that was pruned elsewhere, copied or cut into its prompt; what `generating.UNSUITED` lists;
    embeddings without placeholders; labels or logits of a token that was dropped; more tokens that must stay than a
    layer keeps; a mask that is not 2-D, or hides visual tokens; a drop before a model's last layer that adds features
    of the picture to its visual tokens (Qwen3-VL's first layers); a method whose scores are not one number a token
    (NaN is none).
    """
    with pruned(model, recipe, find_method(method), paint=Paint.of(stay, go)) as trace:
        for warning in recipe.warnings_for(model_name(uncompiled(model))):
            logger.warning(warning)
        yield trace
        if not trace.kept and any(recipe.removed):
            logger.warning(
                "no prompt with a picture ran inside this block, so nothing was pruned; a thread that generates must "
                "end before the block does"
            )


def check_prunable(model: PreTrainedModel, recipe: PruningRecipe, method: Method) -> None:
    """Raise ValueError, before there is a prompt, for a recipe of another depth, a budget that the method cannot meet,
    a drop where none may be, and a vision tower that the method cannot read. The model may be in use."""
    try:
        _block(uncompiled(model), recipe, method)
    except ValueError as error:  # of several methods, which
        words = str(error)
        raise ValueError(words if method.label in words else f"{method.label}: {words}") from error


def _block(
    model: PreTrainedModel,
    recipe: PruningRecipe,
    method: Method,
    make_prompt: Callable[..., PrunedPrompt] = PrunedPrompt,
    paint: Paint = UNPAINTED,
) -> Block:
    recipe.check_model(len(decoder_layers(model)), model_name(model))
    return Block(model, recipe, method, make_prompt, paint)


@contextmanager
def pruned(
    model: PreTrainedModel,
    recipe: PruningRecipe,
    method: Method,
    make_prompt: Callable[[torch.Tensor, torch.Tensor | None, Drops, Method], PrunedPrompt] = PrunedPrompt,
    paint: Paint = UNPAINTED,
) -> Iterator[PruningTrace]:
    """As `prune_visual_tokens`, without its warning and for any kind of request: each layer from the first that drops
    on asks it what goes.

    make_prompt: called with the arguments of `PrunedPrompt`, once for every prompt with an image.
    """
    check_recipe(recipe)
    with borrowed(model) as undo:
        block = _block(uncompiled(model), recipe, method, make_prompt, paint)
        undo.callback(block.close)
        replace(undo, block.replacements())
        yield block.trace
