"""What published models that are small enough for a processor cost, from their sizes alone; nothing is loaded.

    python -m tests.small_models   # the guide's table

The sizes are those of public files: for llava-interleave-qwen-0.5b, transformers' script that converted it
(`models/llava/convert_llava_weights_to_hf.py`: Qwen1.5-0.5B-Chat, 26 layers of SigLIP, a vocabulary padded to 64), and
for SmolVLM-256M its model card (SmolLM2-135M, SigLIP base at 512 pixels, 64 tokens a tile, four tiles a side).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from transformers import (
    AutoModelForImageTextToText,
    Idefics3Config,
    Idefics3ImageProcessorPil,
    LlavaConfig,
    PretrainedConfig,
    SiglipImageProcessorPil,
)
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from fitprune_core import visual_layout
from fitprune_core.cost.decoder import DecoderGeometry, visual_flops
from fitprune_core.cost.request import RequestFlops, request_flops
from fitprune_core.models.family import Picture, family_of
from tests.families.smolvlm import PLACES, SPECIAL
from tests.families.weights import byte_tokenizer

# A picture of 4:3, a question with its template, and an answer, in tokens.
PICTURE, QUESTION, ANSWER = (640, 480), 30, 20
FLOAT32 = 4


def llava_interleave() -> tuple[PretrainedConfig, SimpleNamespace]:
    """llava-hf/llava-interleave-qwen-0.5b-hf, and what of its processor decides where tokens lie."""
    text = {
        "model_type": "qwen2", "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24,
        "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 152000, "tie_word_embeddings": True,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26,
        "num_attention_heads": 16, "image_size": 384, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip
    config = LlavaConfig(
        text_config=text, vision_config=vision, vision_feature_layer=-1, vision_feature_select_strategy="full"
    )
    sizes = SiglipImageProcessorPil(size={"height": 384, "width": 384})
    strategy = {"vision_feature_select_strategy": "full", "num_additional_image_tokens": 0}
    return config, SimpleNamespace(image_processor=sizes, **strategy)


def smolvlm_256m() -> tuple[PretrainedConfig, SimpleNamespace]:
    """HuggingFaceTB/SmolVLM-256M-Instruct, and the same of its processor."""
    text = {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49280,
    }  # fmt: skip
    vision = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "image_size": 512, "patch_size": 16,
    }  # fmt: skip
    config = Idefics3Config(text_config=text, vision_config=vision, scale_factor=4, tie_word_embeddings=False)
    edges = {"size": {"longest_edge": 4 * 512}, "max_image_size": {"longest_edge": 512}}
    return config, SimpleNamespace(image_processor=Idefics3ImageProcessorPil(**edges))


MODELS = {
    "llava-hf/llava-interleave-qwen-0.5b-hf": llava_interleave,
    "HuggingFaceTB/SmolVLM-256M-Instruct": smolvlm_256m,
}


@dataclass(frozen=True)
class Cost:
    """Of one request to an unpruned model: visual tokens, views of the tower, bytes in float32, and FLOPs.

    visual: FLOPs of the decoder on visual tokens, which is what a recipe can save from.
    """

    tokens: int
    views: int
    parameters: int
    cache_bytes: int
    flops: RequestFlops
    visual: int


def cost_of(config: PretrainedConfig, processor: SimpleNamespace) -> Cost:
    """One request, counted by the library from a model's sizes."""
    layout, family = visual_layout(config, processor, PICTURE), family_of(config)
    views = len(layout.tiles) + 1 if layout.tiles else 1
    side, between = config.vision_config.image_size, text_between(layout)
    picture, geometry = Picture(views, (side, side)), DecoderGeometry.from_config(config)
    none = [0] * geometry.num_layers
    flops = request_flops(
        config, none, layout.num_tokens, QUESTION + between, QUESTION, ANSWER,
        num_text_between=between,
        tower_multiply_adds=family.tower_multiply_adds(config, picture),
        merger_multiply_adds=family.merger_multiply_adds(config, picture),
    )  # fmt: skip
    with torch.device("meta"):
        parameters = AutoModelForImageTextToText.from_config(config).num_parameters()
    rows = layout.num_tokens + QUESTION + between + ANSWER - 1
    cache = 2 * geometry.num_layers * geometry.kv_width * rows * FLOAT32
    return Cost(layout.num_tokens, views, parameters, cache, flops, visual_flops(config, none, layout.num_tokens))


def text_between(layout) -> int:
    """Tokens of the text between the tiles of SmolVLM, whose names of places are one token each."""
    if not layout.tiles:
        return 0
    rows = len({box[1] for box in layout.tiles})
    around, image = "<fake_token_around_image>", "<image>"
    text = get_image_prompt_string(
        rows, len(layout.tiles) // rows, 1, around, image_token=image, global_image_token="<global-img>"
    )
    return len(byte_tokenizer(SPECIAL, PLACES)(text.replace(image, ""))["input_ids"])


def table() -> str:
    """The guide's table, with a line end at its end."""
    heads = ("", "visual tokens", "weights", "cache", "GFLOP", "tower", "prefill", "decoding", "visual")
    lines = [heads, ("---",) * len(heads)]
    for name, model in MODELS.items():
        cost = cost_of(*model())
        flops = cost.flops
        parts = (flops.total, flops.vision_tower + flops.projector, flops.prefill, flops.decode, cost.visual)
        sizes = f"{cost.parameters * FLOAT32 / 1e9:.2f} GB", f"{cost.cache_bytes / 1e6:.0f} MB"
        views = "" if cost.views == 1 else f" in {cost.views} views"
        lines.append((f"`{name}`", f"{cost.tokens}{views}", *sizes, *(f"{part / 1e9:,.0f}" for part in parts)))
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    print(table(), end="")
