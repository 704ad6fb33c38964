"""A LLaVA whose weights and inputs follow a formula: the model on which the authors' own code was run.

The formula and the figures are in tests/data/fitprune_official.json, with their source.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

OFFICIAL = json.loads((Path(__file__).parent / "data" / "fitprune_official.json").read_text(encoding="utf-8"))
PREFIX, GRID, VOCABULARY = 35, 24, 128
IMAGE_TOKEN = VOCABULARY  # one id beyond the words of the formula, for the placeholders


def noise(name: str, count: int) -> np.ndarray:
    """Values in [-1, 1): a 32-bit integer hash of (index, crc32(name))."""

    def mix(value):
        return ((value ^ (value >> 16)) * 0x45D9F3B) & 0xFFFFFFFF

    value = mix(mix(mix(np.arange(count, dtype=np.uint64)) ^ zlib.crc32(name.encode())))
    return (value ^ (value >> 16)) / 2.0**31 - 1.0


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight of a plain LlamaForCausalLM's parameter."""
    values = noise(name, int(np.prod(shape)))
    if name.endswith("norm.weight"):
        values = 1 + 0.1 * values
    elif name != "model.embed_tokens.weight":
        values = (0.32 if "q_proj" in name or "k_proj" in name else 0.25) * values
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def visual(sample: int, width: int) -> torch.Tensor:
    """Image features, (1, grid * grid, width)."""
    token, d = np.arange(GRID * GRID)[:, None], np.arange(width)[None]
    row, column = token // GRID, token % GRID
    wave = np.sin(0.31 * row * (1 + d % 4) + 0.17 * column * (1 + d % 3) + 0.7 * d + 1.3 * sample)
    values = 0.7 * wave + 0.5 * noise(f"visual.{sample}", GRID * GRID * width).reshape(GRID * GRID, width)
    return torch.from_numpy(values.astype(np.float32))[None]


def inputs_of(sample: int, num_text: int = 24) -> dict[str, torch.Tensor]:
    """Prefix, image and `num_text` words of a sample, for `model(**inputs)`; the picture is the sample's number."""
    prefix = [(7 * i + 1 + 5 * sample) % VOCABULARY for i in range(PREFIX)]
    text = [(11 * i + 3 + 13 * sample) % VOCABULARY for i in range(num_text)]
    ids = torch.tensor([prefix + [IMAGE_TOKEN] * GRID**2 + text])
    return {"input_ids": ids, "pixel_values": torch.full((1, 3, GRID, GRID), float(sample))}


def formula_llava(**text_options) -> LlavaForConditionalGeneration:
    """A stock LLaVA with the formula's decoder. Its `get_image_features` looks the sample up instead of seeing it."""
    options = {name: value for name, value in OFFICIAL["config"].items() if name != "rope_theta"}
    options["vocab_size"] = VOCABULARY + 1
    options["rope_parameters"] = {"rope_type": "default", "rope_theta": OFFICIAL["config"]["rope_theta"]}
    text = LlamaConfig(**{**options, "bos_token_id": None, **text_options})
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=GRID, patch_size=1
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN)
    model = LlavaForConditionalGeneration(config).float().eval()
    _fill(model)
    width = text.hidden_size

    def image_features(pixel_values, **kwargs):
        features = [visual(int(sample), width)[0] for sample in pixel_values[:, 0, 0, 0].tolist()]
        return BaseModelOutputWithPooling(pooler_output=features)

    model.model.get_image_features = image_features
    model.get_image_features = image_features
    return model


def _fill(model: LlavaForConditionalGeneration) -> None:
    """Formula weights. The placeholder's row is zero, and so is its logit: too low to be chosen by these inputs."""
    with torch.no_grad():
        for name, parameter in model.model.language_model.named_parameters():
            _copy(parameter, "model." + name)
        _copy(model.lm_head.weight, "lm_head.weight")


def _copy(parameter: torch.Tensor, name: str) -> None:
    shape = tuple(parameter.shape)
    words = (VOCABULARY, *shape[1:]) if shape[0] == VOCABULARY + 1 else shape
    parameter.zero_()
    parameter[: words[0]] = weight(name, words)
