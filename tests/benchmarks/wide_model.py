"""LLaVAs with a decoder as wide as the 7B ones, random weights, made in seconds in memory.

One is two layers deep. The other is a whole LLaVA-1.5-7B: its tower, its vocabulary and all its 32 layers, which share
the weights of two, so that it fits where 28 GB of weights would not. Every product is as large as in the real model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

from fitprune_core.cost.decoder import DecoderGeometry, tokens_per_layer, visual_reduction
from fitprune_core.recipes.recipe import PruningRecipe

WIDTHS = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}
# CLIP ViT-L/14 at 336 pixels, the tower of LLaVA-1.5.
TOWER = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
PATCH_SIZE = 4
# The system prompt of LLaVA-1.5 comes before the picture; question and "ASSISTANT:" after it.
TEXT_BEFORE, TEXT_AFTER = 35, 30
VOCABULARY = 320
IMAGE_TOKEN = VOCABULARY - 1
# Weights are this many random numbers, over and over: drawing billions takes minutes, and no product is faster for it.
POOL = 1_000_003


@dataclass(frozen=True)
class Family:
    """Whose visual tokens and whose published recipe a run takes: a model's name, its folder of recipes, and its grid.

    The model that runs is a LLaVA-1.5, whose picture is one square of `grid` x `grid` visual tokens.
    """

    name: str
    recipes: str
    grid: int

    @property
    def num_visual_tokens(self) -> int:
        return self.grid**2


LLAVA = Family("LLaVA-1.5-7B", "llava-1.5-7b", 24)
LLAVA_NEXT = Family("LLaVA-NeXT-7B", "llava-next-7b", 54)  # 2,916 visual tokens, the square nearest to its 2,880


def wide_llava(num_layers: int = 2, family: Family = LLAVA, **widths: int) -> PreTrainedModel:
    """The model, float32 on the CPU; 1.6 GB at its full width. widths: other sizes, for a trial."""
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=family.grid * PATCH_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(num_hidden_layers=num_layers, vocab_size=VOCABULARY, **{**WIDTHS, **widths})
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_TOKEN,
        image_seq_length=family.num_visual_tokens,
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    _materialise(model)
    return model.eval()


def whole_llava(distinct_layers: int = 2, **widths: int) -> PreTrainedModel:
    """LLaVA-1.5-7B at its full size and depth, float32 on the CPU, with `distinct_layers` layers' weights in turns.

    About 4.5 GB. widths: other sizes of the decoder, for a trial.
    """
    vision = CLIPVisionConfig(**TOWER)
    text = LlamaConfig(**{**WIDTHS, "num_hidden_layers": 32, "vocab_size": 32_064, **widths})
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=text.vocab_size - 1)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    layers = model.get_decoder().layers
    for layer in layers[distinct_layers:]:
        # Named now, and let go of: `to_empty` would make room for weights that are replaced at once.
        for module in layer.modules():
            module._parameters = dict.fromkeys(module._parameters)
    _materialise(model)
    for index, layer in enumerate(layers):
        for ours, theirs in zip(layer.modules(), layers[index % distinct_layers].modules(), strict=True):
            ours._parameters = theirs._parameters
    return model.eval()


def wide_inputs(
    family: Family = LLAVA, image_token: int = IMAGE_TOKEN, patch_size: int = PATCH_SIZE
) -> dict[str, torch.Tensor]:
    """One prompt: 35 tokens of text, a random picture's visual tokens, 30 tokens of text."""
    generator = torch.Generator().manual_seed(1)
    length = TEXT_BEFORE + family.num_visual_tokens + TEXT_AFTER
    ids = torch.randint(0, image_token, (1, length), generator=generator)
    ids[:, TEXT_BEFORE : TEXT_BEFORE + family.num_visual_tokens] = image_token
    side = family.grid * patch_size
    pixels = torch.randn(1, 3, side, side, generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def compressed(recipe: PruningRecipe, num_layers: int, geometry: DecoderGeometry, model: str) -> PruningRecipe:
    """A recipe for a shallower decoder with the profile of a deep one.

    Each layer stands for an equal run of the deep decoder's layers, and as many tokens leave it as leave the layers of
    that run on average.
    """
    run = recipe.num_layers // num_layers
    if run * num_layers != recipe.num_layers:
        raise ValueError(f"{recipe.num_layers} layers cannot be divided among {num_layers} evenly")
    deep = tokens_per_layer(recipe.removed, recipe.num_visual_tokens)
    leaving = [round(sum(deep[at : at + run]) / run) for at in range(0, recipe.num_layers, run)]
    arriving = [recipe.num_visual_tokens, *leaving]
    removed = tuple(n - m for n, m in zip(arriving, leaving, strict=False))
    return PruningRecipe(
        model=model,
        num_layers=num_layers,
        num_visual_tokens=recipe.num_visual_tokens,
        reduction=recipe.reduction,
        achieved_reduction=visual_reduction(geometry, removed, recipe.num_visual_tokens),
        removed=removed,
        procedure="published",
        source=f"{recipe.source}; its profile at {num_layers} layers",
    )


def _materialise(model: PreTrainedModel) -> None:
    """Room for the weights of a model without any, and random ones in it."""
    model.to_empty(device="cpu")
    # What is computed from the configuration is no weight, and was left empty.
    decoder, embeddings = model.get_decoder(), model.model.vision_tower.embeddings
    decoder.rotary_emb = type(decoder.rotary_emb)(config=model.config.text_config)
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
    _fill(model)


@torch.no_grad()
def _fill(model: PreTrainedModel) -> None:
    """Weights at the scale that keeps activations at one; norms and biases as a new model has them."""
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        scale = 1.0 if "embed_tokens" in name else 1.0 / math.sqrt(weight[0].numel())
        flat = weight.view(-1)
        for start in range(0, flat.numel(), POOL):
            part = flat[start : start + POOL]
            part.copy_(pool[: part.numel()])
        flat.mul_(scale)
