"""mini-llava's dimensions: a stock LLaVA-1.5 (CLIP tower, MLP projector, Llama decoder), small enough for two cores."""

from __future__ import annotations

import math

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from app.demo_model.scenes import MODEL_SIZE

PATCH_SIZE = 12
GRID = MODEL_SIZE // PATCH_SIZE  # 16 x 16 = 256 visual tokens
VISION = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 4}
DECODER = {"hidden_size": 160, "intermediate_size": 448, "num_hidden_layers": 12, "num_attention_heads": 5}


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(**VISION, image_size=MODEL_SIZE, patch_size=PATCH_SIZE, hidden_act="gelu")


def llava_config(tokenizer) -> LlavaConfig:
    """The whole model. The last vision layer is read (LLaVA-1.5 reads the one before it: here none is idle)."""
    text = LlamaConfig(
        **DECODER,
        num_key_value_heads=DECODER["num_attention_heads"],
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        vision_config=vision_config(),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=GRID * GRID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )


def build_model(tokenizer) -> LlavaForConditionalGeneration:
    """A fresh model in float32; torch's seed decides the weights."""
    return LlavaForConditionalGeneration(llava_config(tokenizer)).float()


def write_grid_positions(tower, amplitude: float = 0.25) -> None:
    """Start the tower's position embedding from a 2-D sine-cosine instead of noise.

    A learned table that starts near zero hardly carries position for the first thousand steps, and "where" questions
    wait for it.
    """
    table = tower.embeddings.position_embedding.weight
    quarter = table.shape[1] // 4
    frequency = math.pi / GRID * torch.logspace(0, math.log2(GRID), quarter, base=2.0) / 2
    y, x = torch.meshgrid(torch.arange(GRID) + 0.5, torch.arange(GRID) + 0.5, indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in (x, y)]
    waves = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    with torch.no_grad():
        table[1:] = amplitude * waves
