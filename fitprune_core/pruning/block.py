"""One `with` block: what stands in for a model's own methods, and whose tokens each call of the model is about."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from fitprune_core.cost.decoder import DecoderGeometry, check_removed
from fitprune_core.models.decoder import DecoderLayer, decoder_layers
from fitprune_core.models.decoder_check import check_decoder
from fitprune_core.models.exclusive import StandIn
from fitprune_core.models.family import family_of, visual_mask
from fitprune_core.pruning.caches import PrunedCaches
from fitprune_core.pruning.generating import check_generation, refuse_continuous_batching
from fitprune_core.pruning.layers import Call
from fitprune_core.pruning.methods import Method
from fitprune_core.pruning.paint import Paint
from fitprune_core.pruning.positions import labels_of_rows, loss_of, select_rows
from fitprune_core.pruning.prompt import PrunedPrompt, PruningTrace
from fitprune_core.pruning.refusing import check_packing, check_padding, refuse_video
from fitprune_core.pruning.tower import TowerAttention
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.recipes.schedules import Drops


def _in_turn(work: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a block that one thread at a time is in; it may come back to it from inside."""

    @wraps(work)
    def in_turn(block: Block, *args: Any, **kwargs: Any) -> Any:
        with block.turn:
            return work(block, *args, **kwargs)

    return in_turn


@dataclass
class _Generation:
    """One `generate` that is running, and its prompt: the first that it gives to the model."""

    has_begun: bool = False
    ids: torch.Tensor | None = None
    is_visual: torch.Tensor | None = None
    prompt: PrunedPrompt | None = None

    def comes_again(self, ids: torch.Tensor | None, cache: Any) -> bool:
        """Whether a call without a cache brings its prompt once more, with words behind it."""
        if self.prompt is None or self.ids is None or ids is None or cache is not None:
            return False
        batch, length = self.ids.shape
        return ids.shape[0] == batch and ids.shape[1] >= length and torch.equal(ids[:, :length], self.ids)


class Block:
    """The calls of one block: each is looked at from outside to inside, and its layers ask what is known of it.

    Threads that call the model inside the block take turns, call by call, `generate` as a whole.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        recipe: PruningRecipe,
        method: Method,
        make_prompt: Callable[..., PrunedPrompt],
        paint: Paint,
    ) -> None:
        self.model, self.recipe, self.method, self.make_prompt = model, recipe, method, make_prompt
        self.paint = paint
        self.turn = threading.RLock()
        self.geometry = DecoderGeometry.from_config(model.config.text_config)
        # A budget that the method cannot meet is refused here, before any prompt, and a drop where none may be.
        self.drops = self.drops_for(recipe.num_visual_tokens)
        reads_tower = bool(self.drops) and method.scores_before == "tower"
        self.tower = TowerAttention(model) if reads_tower else None
        self.trace = PruningTrace()
        self.caches = PrunedCaches()
        self.generation: _Generation | None = None
        self.running: Call | None = None  # the call whose layers run
        self.coming: Call | None = None  # known already, from the head outside
        self.names = {
            module: list(inspect.signature(module.forward).parameters)
            for module in (model, model.model, model.get_decoder())
        }

    def drops_for(self, num_visual_tokens: int) -> Drops:
        """What goes where of so many visual tokens. Raises ValueError for a drop before the family's first that may."""
        drops = self.method.drops(self.recipe, self.geometry, num_visual_tokens)
        try:
            check_removed(drops.removed, num_visual_tokens, self.recipe.num_layers, drops.before)
        except ValueError as error:
            raise ValueError(f"the drops of {self.method.label}: {error}") from error
        family = family_of(self.model.config)
        first = family.first_drop_layer(self.model.config)
        early = next((number for number, count in enumerate(drops.removed[:first], 1) if count), None)
        if early is not None or (drops.before and first):
            place = "before the decoder" if drops.before else f"at layer {early}"
            if self.method.follows_recipe:
                way_out = f"see first_drop_layer of the fit, which counts from 0: {first}"
            elif "layer" in self.method.options and not drops.before:
                way_out = f"{self.method.name}:layer={first + 1} drops there"
            else:
                way_out = f"{self.method.name} cannot do that; choose a method that ranks inside the layers"
            raise ValueError(
                f"{self.method.label} drops visual tokens {place}, but {family.name} adds features of the picture to "
                f"all of them up to layer {first}; layer {first + 1} (counted from 1) is the first that may drop: "
                f"{way_out}"
            )
        return drops

    def close(self) -> None:
        """The block ends, and with it the caches that it pruned."""
        self.caches.end()

    def replacements(self) -> Iterator[tuple[nn.Module, str, Any]]:
        """The instance attributes to replace: from the first layer that drops on, every layer has its own rows."""
        model, decoder = self.model, self.model.get_decoder()
        yield model.model, "forward", StandIn(model.model.forward, self.call)
        if not self.drops:
            return
        yield model, "forward", StandIn(model.forward, self.call_with_head)
        yield model, "generate", StandIn(model.generate, self.generate)
        yield model, "init_continuous_batching", StandIn(model.init_continuous_batching, refuse_continuous_batching)
        yield decoder, "forward", StandIn(decoder.forward, self.call_decoder)
        if self.tower is not None:
            yield from self.tower.replacements()
        first = 0
        if self.method.follows_recipe and not self.drops.before:
            both = zip(self.recipe.removed, self.drops.removed, strict=True)
            first = next(index for index, counts in enumerate(both) if any(counts))
        for index, layer in list(enumerate(decoder_layers(model)))[first:]:
            yield layer, "forward", StandIn(layer.forward, partial(self.call_layer, index, layer))

    # ---- what stands in, from outside to inside

    @_in_turn
    def generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`model.generate`: a look at how it is asked to generate, and a note that it runs."""
        check_generation(original, self.model, args, kwargs)
        if self.tower is not None:
            self.tower.check_call(kwargs)
            self.tower.forget()
        outer, self.generation = self.generation, _Generation()
        try:
            return original(*args, **kwargs)
        finally:
            self.generation = outer

    @_in_turn
    def call_with_head(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The forward of the whole model, for the sake of what is told in positions of the prompt."""
        kwargs.update(zip(self.names[self.model], args, strict=False))
        asked = kwargs.get("logits_to_keep", 0)
        is_plain = isinstance(asked, int) and asked in (0, 1) and kwargs.get("labels") is None
        if is_plain or self.coming is not None:
            return original(**kwargs)
        try:
            self.coming = call = self.look_at(kwargs)
            if call.prompt is None or not call.is_prefill:
                return original(**kwargs)
            call.asked = asked
            return self.score(original, call.prompt, asked, kwargs)
        finally:
            self.coming = None

    def score(self, original: Callable[..., Any], prompt: PrunedPrompt, asked: Any, kwargs: dict[str, Any]) -> Any:
        """The forward of the whole model on a prompt that loses tokens: logits of what is asked for, and the loss."""
        as_tuple = not kwargs.pop("return_dict", self.model.config.return_dict)
        labels = {name: kwargs.pop(name, None) for name in ("labels", "shift_labels")}
        output = original(**{**kwargs, "logits_to_keep": 0, "return_dict": True})
        if isinstance(asked, torch.Tensor) and asked.dtype == torch.bool and asked.dim() == 2:
            output.logits = output.logits[0]  # such a mask makes one row of all samples
        if labels["labels"] is not None:
            options = {name: value for name, value in kwargs.items() if name not in self.names[self.model]}
            if isinstance(asked, int) and asked == 0:
                ignored, left = options.get("ignore_index", -100), prompt.rows_left
                for name, given in labels.items():
                    if given is not None:
                        labels[name] = labels_of_rows(given, left, prompt.length, ignored, name == "shift_labels")
            output = replace(output, loss=loss_of(self.model, output.logits, labels, options))
        return output.to_tuple() if as_tuple else output

    @_in_turn
    def call(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The forward of the model without its head."""
        kwargs.update(zip(self.names[self.model.model], args, strict=False))
        call, self.coming = self.coming or self.look_at(kwargs), None
        if self.tower is not None and self.generation is None:
            self.tower.check_call(kwargs)
            self.tower.forget()
        output = self.run(call, original, kwargs)
        if call.prompt is not None and call.is_prefill:
            call.trace.finish(call.prompt.rows_left)
            if not (isinstance(call.asked, int) and call.asked == 0):
                left, length = call.prompt.rows_left, call.prompt.length
                output.last_hidden_state = select_rows(output.last_hidden_state, call.asked, left, length)
        return output

    @_in_turn
    def call_decoder(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The decoder's forward: one that is called by itself has no visual tokens that it could lose."""
        if self.running is not None:
            return original(*args, **kwargs)
        kwargs.update(zip(self.names[self.model.get_decoder()], args, strict=False))
        cache, padding = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        is_filled = cache is not None and cache.get_seq_length() > 0
        return self.run(self.go_on(cache, padding) if is_filled else self.plain_call(padding), original, kwargs)

    def run(self, call: Call, original: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
        """Run a forward whose layers belong to `call`."""
        self.running = call
        try:
            return original(**kwargs)
        finally:
            self.running = None

    def call_layer(
        self, index: int, layer: DecoderLayer, original: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """A layer's forward; one that is called by itself runs as ever."""
        if self.running is None:
            return original(*args, **kwargs)
        return self.running.layer(index, layer, original, *args, **kwargs)

    # ---- what a call is about

    def look_at(self, kwargs: dict[str, Any]) -> Call:
        """Find out whether a call brings a new prompt, and whose tokens these are."""
        ids, embeddings, padding = (kwargs.get(name) for name in ("input_ids", "inputs_embeds", "attention_mask"))
        cache = kwargs.get("past_key_values")
        given = embeddings if ids is None else ids
        is_filled = cache is not None and cache.get_seq_length() > 0
        if is_filled and (given is None or given.shape[1] == 1):
            return self.go_on(cache, padding)  # one new token: no look at its value, which would wait for the device
        if given is None:
            return self.plain_call(padding)  # transformers will say what is missing
        is_visual = self.visual_rows(given)
        has_image = bool(is_visual.any())
        if is_filled and has_image and self.drops:
            raise ValueError("an image came on top of a filled cache; give the whole prompt to an empty one, at once")
        if is_filled:
            return self.go_on(cache, padding)
        if ids is None and not has_image and self.drops:
            raise ValueError(
                "inputs_embeds hold no placeholder of an image, so visual tokens cannot be told from text; give "
                "input_ids and pixel_values, or embeddings of the placeholders and pixel_values"
            )
        return self.start(is_visual if has_image else torch.zeros_like(is_visual), kwargs)

    def visual_rows(self, given: torch.Tensor) -> torch.Tensor:
        """Which rows are visual tokens, (batch, length) bool; of embeddings those that are the placeholder's."""
        if given.dim() == 2:
            return visual_mask(self.model.config, given)
        placeholder = torch.tensor(self.model.config.image_token_id, device=given.device)
        is_placeholder = (given == self.model.get_input_embeddings()(placeholder)).all(dim=-1)
        return visual_mask(self.model.config, torch.where(is_placeholder, placeholder, -1))

    def start(self, is_visual: torch.Tensor, kwargs: dict[str, Any]) -> Call:
        """A new prompt: begin what is kept of it, and its trace. is_visual: (batch, length)."""
        ids, padding, cache = (kwargs.get(name) for name in ("input_ids", "attention_mask", "past_key_values"))
        generation, trace = self.generation or _Generation(), self.trace
        again = generation.comes_again(ids, cache)
        if self.drops and not again:
            refuse_video(self.model.config, kwargs)
        if generation.has_begun:
            trace = PruningTrace()
        if again and generation.is_visual is not None:
            # What was said since is no picture, whatever words these are.
            is_visual = nn.functional.pad(generation.is_visual, (0, is_visual.shape[1] - generation.is_visual.shape[1]))
        counts = sorted(set(is_visual.sum(dim=1).tolist()))
        if len(counts) > 1:
            raise ValueError(
                f"the prompts of this batch have {' and '.join(map(str, counts))} visual tokens; counts must be equal"
            )
        trace.start(is_visual, counts[0], self.recipe.num_layers)
        drops = self.drops_for(counts[0]) if counts[0] else None
        prompt: PrunedPrompt | None = None
        if drops:
            self.check_prompt(kwargs)
            self.paint.check(drops, counts[0])
            prompt = self.make_prompt(is_visual, padding, drops, self.method)
            prompt.tower, prompt.paint = self.tower, self.paint
        if again and prompt is not None and generation.prompt is not None:
            prompt.chosen = generation.prompt.chosen
        elif not generation.has_begun:
            generation.has_begun, generation.ids, generation.is_visual = True, ids, is_visual
            generation.prompt = prompt
        return Call(prompt, True, padding, trace, self.caches, self.model.config.text_config)

    def go_on(self, cache: Any, padding: torch.Tensor | None) -> Call:
        """A call on a cache that is filled: the prompt that filled it goes on."""
        call = self.plain_call(padding)
        if not self.drops:
            return call
        lengths = [cache.get_seq_length(index) for index in (0, self.recipe.num_layers - 1)]
        call.prompt = self.caches.prompt_of(cache)
        if call.prompt is not None:
            check_padding(padding)
            call.prompt.check_cache(lengths[0], lengths[1], padding)
        elif lengths[0] != lengths[1]:
            raise ValueError("this cache was pruned outside this block, or copied; go on with it where it was filled")
        return call

    def plain_call(self, padding: torch.Tensor | None) -> Call:
        """A call that brings no prompt with an image."""
        return Call(None, False, padding, self.trace, self.caches, self.model.config.text_config)

    def check_prompt(self, kwargs: dict[str, Any]) -> None:
        """Refuse what a prompt that loses tokens cannot come with."""
        cache = kwargs.get("past_key_values")
        if getattr(cache, "is_compileable", False):
            raise ValueError("a static cache keeps every layer at one length; pruning needs the dynamic cache")
        if self.model.training:
            check_decoder(self.model)
        check_padding(kwargs.get("attention_mask"))
        check_packing(kwargs)
