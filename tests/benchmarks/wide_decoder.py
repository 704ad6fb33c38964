"""A decoder of 7B's width: does time follow FLOPs, what does scoring cost, and what did the published way?

With as many visual tokens as LLaVA-1.5 has, and with as many as LLaVA-NeXT has, where attention is a larger part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from statistics import median

import torch
from transformers import PreTrainedModel

from fitprune_core.cost.decoder import DecoderGeometry, tokens_per_layer
from fitprune_core.cost.request import RequestFlops, request_flops
from fitprune_core.models.decoder import decoder_layers, tells_normaliser
from fitprune_core.models.devices import describe_device
from fitprune_core.models.loading import model_name
from fitprune_core.pruning.context import prune_visual_tokens, pruned
from fitprune_core.pruning.methods import find_method
from fitprune_core.pruning.prompt import PrunedPrompt
from fitprune_core.recipes.published import published_recipes
from fitprune_core.recipes.recipe import PruningRecipe
from fitprune_core.run.timing import Clock, Side, medians, paired_rounds, timed_pass
from tests.benchmarks.published_way import check_same_tokens, published_way, score_memory
from tests.benchmarks.report import Report
from tests.benchmarks.wide_model import (
    LLAVA,
    LLAVA_NEXT,
    TEXT_AFTER,
    TEXT_BEFORE,
    WIDTHS,
    Family,
    compressed,
    wide_inputs,
    wide_llava,
)

REDUCTION = 0.6
NUM_LAYERS = 2
WARMUP = 1
FIRST_TOKEN = (0,)  # an answer of one token: nothing but the prefill


def run(rounds: int = 7, family: Family = LLAVA, **widths: int) -> Report:
    """Time `rounds` paired prefills of three kinds, then scoring, then memory. widths: other sizes, for a trial."""
    model, inputs = wide_llava(NUM_LAYERS, family, **widths), wide_inputs(family)
    recipe = profile_recipe(model, family)
    with torch.no_grad():
        check_same_tokens(model, inputs, recipe)
        sides = [
            Side(nullcontext, FIRST_TOKEN),
            Side(partial(prune_visual_tokens, model, recipe), FIRST_TOKEN),
            Side(partial(published_way, model, recipe), FIRST_TOKEN),
        ]
        times = medians(paired_rounds(model, inputs, sides, Clock(model.device), warmup=WARMUP, repeats=rounds))
        shares = scoring_shares(model, inputs, recipe, rounds)
        memory = score_memory(model, inputs, recipe)
    return _report(model, family, recipe, [time.prefill_ms for time in times], shares, memory, rounds)


def run_next(rounds: int = 3) -> Report:
    """The same with LLaVA-NeXT's visual tokens; a round takes most of a minute."""
    return run(rounds, LLAVA_NEXT)


def deep_recipe(family: Family) -> PruningRecipe:
    """The published 60 % recipe of the real model, for the visual tokens of this one."""
    published = next(recipe for recipe in published_recipes(family.recipes) if recipe.reduction == REDUCTION)
    return published.scaled_to(family.num_visual_tokens)


def profile_recipe(model: PreTrainedModel, family: Family) -> PruningRecipe:
    """Its profile compressed to the model's layers."""
    return compressed(deep_recipe(family), NUM_LAYERS, DecoderGeometry.from_config(model.config), model_name(model))


def prefill_flops(model: PreTrainedModel, recipe: PruningRecipe, removed: tuple[int, ...]) -> RequestFlops:
    """FLOPs of the whole prefill of `wide_inputs`."""
    known = tells_normaliser(model.config.text_config, model.device)
    text = TEXT_BEFORE + TEXT_AFTER
    return request_flops(model.config, removed, recipe.num_visual_tokens, text, TEXT_AFTER, 1, normaliser_known=known)


def scoring_shares(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], recipe: PruningRecipe, rounds: int
) -> list[tuple[float, float]]:
    """For each layer that drops: milliseconds of scoring and choosing, and of the whole layer; medians."""
    clock = Clock(model.device)
    scoring: dict[int, list[float]] = {}
    layers: dict[int, list[float]] = {}
    with timed_layers(model, clock, layers):
        for _ in range(WARMUP + rounds):
            with pruned(model, recipe, find_method("fitprune"), partial(TimedPrompt, clock=clock, seconds=scoring)):
                timed_pass(model, inputs, FIRST_TOKEN, clock, lambda: False)
    return [
        (1e3 * median(seconds[WARMUP:]), 1e3 * median(layers[layer][WARMUP:]))
        for layer, seconds in sorted(scoring.items())
    ]


class TimedPrompt(PrunedPrompt):
    """A request that notes how long each layer's scoring and choosing take, in seconds."""

    def __init__(self, *args, clock: Clock, seconds: dict[int, list[float]]) -> None:
        super().__init__(*args)
        self.clock, self.seconds = clock, seconds

    def drop(self, layer: int, *args) -> torch.Tensor:
        """As `PrunedPrompt.drop`."""
        started = self.clock.now()
        kept_rows = super().drop(layer, *args)
        self.seconds.setdefault(layer, []).append(self.clock.now() - started)
        return kept_rows


@contextmanager
def timed_layers(model: PreTrainedModel, clock: Clock, seconds: dict[int, list[float]]) -> Iterator[None]:
    """Inside the block every run of a decoder layer adds its duration to `seconds[layer]`."""
    started: dict[int, float] = {}

    def before(layer: int, module, args) -> None:
        started[layer] = clock.now()

    def after(layer: int, module, args, output) -> None:
        seconds.setdefault(layer, []).append(clock.now() - started[layer])

    hooks = []
    try:
        for index, layer in enumerate(decoder_layers(model)):
            hooks.append(layer.register_forward_pre_hook(partial(before, index)))
            hooks.append(layer.register_forward_hook(partial(after, index)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def kept_matrices(model: PreTrainedModel, recipe: PruningRecipe) -> int:
    """Bytes of the attention matrices of all layers of a model of this width, float32, pruned by a recipe."""
    leaving = tokens_per_layer(recipe.removed, recipe.num_visual_tokens)
    rows = [visual + TEXT_BEFORE + TEXT_AFTER for visual in (recipe.num_visual_tokens, *leaving[:-1])]
    return 4 * model.config.text_config.num_attention_heads * sum(count**2 for count in rows)


def _report(
    model: PreTrainedModel,
    family: Family,
    recipe: PruningRecipe,
    prefills: list[float],
    shares: list[tuple[float, float]],
    memory: tuple[int, int],
    rounds: int,
) -> Report:
    original, ours, published = prefills
    whole, part = prefill_flops(model, recipe, (0,) * NUM_LAYERS), prefill_flops(model, recipe, recipe.removed)
    flops_saved = 1 - (part.total - part.scoring) / whole.total
    rows = [("prefill", "time", "time saved", "FLOPs saved", "time/FLOPs", "peak memory of scores")]
    rows.append(("original, SDPA", f"{original:.0f} ms", "", "", "", ""))
    for label, spent, peak in zip(("pruned", "pruned the published way"), prefills[1:], memory, strict=True):
        saved = 1 - spent / original
        figures = (f"{saved:.1%}", f"{flops_saved:.1%}", f"{saved / flops_saved:.2f}")
        rows.append((label, f"{spent:.0f} ms", *figures, f"{peak / 1e6:.1f} MB"))
    layers = [("layer", "scoring and choosing", "the whole layer", "share")]
    for number, (scoring, layer) in enumerate(shares, start=1):
        layers.append((str(number), f"{scoring:.1f} ms", f"{layer:.1f} ms", f"{scoring / layer:.1%}"))
    promised = original * (1 - flops_saved)
    notes = [
        f"The published way takes {published / ours:.2f} times as long as this one, and {memory[1] / memory[0]:.1f} "
        f"times the memory for scores. {_about_memory(model, family)}",
        f"Had pruning saved the share of the time that it saves of the FLOPs, it would take {promised:.0f} ms. "
        f"It takes {abs(ours - promised):.0f} ms {'more' if ours > promised else 'less'}; scoring and choosing take "
        f"{sum(scoring for scoring, _ in shares):.0f} ms.",
        _about_run(model, family, recipe, rounds),
    ]
    savings = {f"{recipe.num_visual_tokens} tokens,\n7B's width": (flops_saved, 1 - ours / original)}
    return Report(f"{_sizes(model)}, {recipe.num_visual_tokens} visual tokens", [rows, layers], notes, savings)


def _about_memory(model: PreTrainedModel, family: Family) -> str:
    recipe = deep_recipe(family)
    return (
        f"Attention there is eager, and its matrices are kept for all {NUM_LAYERS} layers; with the "
        f"{recipe.num_layers} of {family.name} they hold {kept_matrices(model, recipe) / 1e6:.0f} MB (counted, not "
        "measured), while scoring here holds what its widest layer needs. Both ways keep the same tokens."
    )


def _about_run(model: PreTrainedModel, family: Family, recipe: PruningRecipe, rounds: int) -> str:
    return (
        f"{_sizes(model)}, {recipe.num_visual_tokens} visual and {TEXT_BEFORE + TEXT_AFTER} text tokens, random "
        f"weights ({describe_device(model)}); medians of {rounds} rounds in turns after {WARMUP} that warmed up. "
        "Recipe: as many tokens leave each layer as leave, on average, the layers of its half in the published "
        f"{REDUCTION:.0%} recipe of {family.name}; {recipe.removed} are removed, which saves "
        f"{recipe.achieved_reduction:.1%} of the visual FLOPs. FLOPs saved: of the whole prefill with text, before "
        "what scoring costs."
    )


def _sizes(model: PreTrainedModel) -> str:
    text = model.config.text_config
    is_full = all(getattr(text, name) == size for name, size in WIDTHS.items())
    whose = "7B's" if is_full else "a trial"
    return (
        f"A decoder of {whose} width: {text.hidden_size}/{text.intermediate_size}, "
        f"{text.num_attention_heads} heads, {NUM_LAYERS} layers"
    )


def main() -> None:
    """Print the tables."""
    print(run().markdown())


if __name__ == "__main__":
    main()
