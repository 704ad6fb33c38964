"""Shared by the tests of pruning: recipes, batches, and what a model looks like from outside."""

from __future__ import annotations

import torch

from fitprune_core import PruningRecipe, build_inputs
from tests.tiny import random_picture

# Instance attributes that transformers' generate leaves behind when it makes a static cache.
GENERATES_OWN = {"_cache", "_previous_max_cache_length"}
REMOVED = (5, 0, 12, 9)
DECODERS = ["llama", "mistral", "qwen2", "qwen3"]


def recipe_of(removed=REMOVED, num_visual_tokens=36, model="tiny") -> PruningRecipe:
    return PruningRecipe(
        model=model,
        num_layers=len(removed),
        num_visual_tokens=num_visual_tokens,
        reduction=0.5,
        achieved_reduction=0.5,
        removed=tuple(removed),
    )


def batch_of(processor, questions, side="left") -> tuple[dict[str, torch.Tensor], list]:
    """Prompts of unequal length with different pictures, padded on one side; and each of them alone."""
    singles = [build_inputs(processor, random_picture(seed=seed), text) for seed, text in enumerate(questions)]
    ids = {"input_ids": [single["input_ids"][0].tolist() for single in singles]}
    padded = processor.tokenizer.pad(ids, return_tensors="pt", padding_side=side)
    names = [name for name in ("pixel_values", "image_sizes") if name in singles[0]]
    pictures = {name: torch.cat([single[name] for single in singles]) for name in names}
    return {**padded, **pictures}, singles


def state_of(model) -> dict:
    """What pruning could leave behind: classes, instance attributes, hooks; two are generate's own."""
    return {
        name: (
            type(module),
            vars(module).keys() - GENERATES_OWN,
            [*module._forward_hooks],
            [*module._forward_pre_hooks],
        )
        for name, module in model.named_modules()
    }
