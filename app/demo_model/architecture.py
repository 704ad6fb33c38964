"""mini-llava's dimensions: a stock LLaVA-1.5 (CLIP tower, MLP projector, Llama decoder), small enough for two cores.

The tower is local, though every part of it is stock CLIP: in each layer each head looks at one neighbour of every patch
and at nothing else. What makes it so are weights that training leaves alone. The last features of a state are a zero
and its row and column as one-hot vectors, which nothing writes to, and queries and keys read nothing but these: the
query of a patch is the place that its head looks at. Its product with the key of that place is positive and with all
others negative, however the norm before has scaled the two, and so large that the softmax has one winner. Two layers
look aside, left and right and then up and down, so a patch knows itself and the eight around it.
"""

from __future__ import annotations

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from app.demo_model.scenes import MODEL_SIZE

PATCH_SIZE = 12
GRID = MODEL_SIZE // PATCH_SIZE  # 16 x 16 = 256 visual tokens
VISION = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
DECODER = {"hidden_size": 160, "intermediate_size": 448, "num_hidden_layers": 12, "num_attention_heads": 5}
# Where each head of each layer looks: (rows down, columns right) of the patch.
HERE, LEFT, RIGHT, UP, DOWN = (0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)
GAZES = ((HERE,) * 4, (LEFT, LEFT, RIGHT, RIGHT), (UP, UP, DOWN, DOWN), (HERE,) * 4)
REACH = 1  # patches to each side that a patch's features depend on
# The features that training leaves alone: row and column, and before them the zero, which tells the norm's shift.
_COLUMNS = slice(VISION["hidden_size"] - GRID, VISION["hidden_size"])
_ROWS = slice(_COLUMNS.start - GRID, _COLUMNS.start)
_ZERO = _ROWS.start - 1
_PLACE = slice(_ZERO, None)
_AMPLITUDE = 4.0  # of a one-hot feature, where content has about 1
_SHARPNESS = 24.0  # of queries and keys each: what lies elsewhere gets less than 1e-6 of the attention


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
    model = LlavaForConditionalGeneration(llava_config(tokenizer)).float()
    keep_local(model.model.vision_tower)
    return model


def build_tower() -> CLIPVisionModel:
    """A fresh vision tower."""
    tower = CLIPVisionModel(vision_config())
    keep_local(tower)
    return tower


@torch.no_grad()
def keep_local(tower) -> None:
    """Write the weights that make the tower local; after every step of training, which moves all weights."""
    row, column = (torch.arange(GRID * GRID) // GRID, torch.arange(GRID * GRID) % GRID)
    table = tower.embeddings.position_embedding.weight
    table[:, _PLACE] = 0
    table[1 + torch.arange(len(row)), _ROWS.start + row] = _AMPLITUDE
    table[1 + torch.arange(len(row)), _COLUMNS.start + column] = _AMPLITUDE
    tower.embeddings.class_embedding[_PLACE] = 0
    tower.embeddings.patch_embedding.weight[_PLACE] = 0
    _pass_place(tower.pre_layrnorm)
    for layer, gazes in zip(tower.encoder.layers, GAZES, strict=True):
        _pass_place(layer.layer_norm1)
        for written in (layer.self_attn.out_proj, layer.mlp.fc2):
            written.weight[_PLACE] = 0
            written.bias[_PLACE] = 0
        _write_gaze(layer.self_attn, gazes)


def patch_features(tower, pixels: torch.Tensor) -> torch.Tensor:
    """What LLaVA reads of a local tower: (B, 3, H, W) -> (B, patches, width), its last layer without the class token.

    The same numbers as from the stock tower, at two thirds of the time: where a head looks is known, so its values are
    moved there, and queries, keys and the class token, at which no patch looks, are left out.
    """
    states = tower.embeddings.patch_embedding(pixels).flatten(2).mT + tower.embeddings.position_embedding.weight[1:]
    states = tower.pre_layrnorm(states)
    for layer, gazes in zip(tower.encoder.layers, GAZES, strict=True):
        values = layer.self_attn.v_proj(layer.layer_norm1(states))
        heads = values.reshape(len(values), GRID, GRID, len(gazes), -1).unbind(3)
        seen = torch.stack([_seen(head, *gaze) for head, gaze in zip(heads, gazes, strict=True)], dim=3)
        states = states + layer.self_attn.out_proj(seen.reshape(values.shape))
        states = states + layer.mlp(layer.layer_norm2(states))
    return states


def _seen(values: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """For each patch the values of the one that is looked at: (B, rows, columns, width)."""
    for axis, step in ((1, down), (2, right)):
        first, last = values.narrow(axis, 0, 1), values.narrow(axis, GRID - 1, 1)
        if step > 0:
            values = torch.cat([values.narrow(axis, 1, GRID - 1), last], axis)
        elif step < 0:
            values = torch.cat([first, values.narrow(axis, 0, GRID - 1)], axis)
    return values


def _pass_place(norm) -> None:
    norm.weight[_PLACE] = 1
    norm.bias[_PLACE] = 0


def _write_gaze(attention, gazes: tuple[tuple[int, int], ...]) -> None:
    """Queries that name the place each head looks at, keys that name the place where a patch is."""
    query, key = attention.q_proj, attention.k_proj
    for projection in (query, key):
        projection.weight.zero_()
        projection.bias.zero_()
    for head, (down, right) in enumerate(gazes):
        first = head * 2 * GRID
        for axis, features, step in ((0, _ROWS, down), (GRID, _COLUMNS, right)):
            here = slice(first + axis, first + axis + GRID)
            key.weight[here, features] = torch.eye(GRID)
            # Takes 3/4 from every place: with both axes right 1/2 is left, with one or none the sum is negative.
            query.weight[here, features] = _step_matrix(step) - 0.75
    for projection in (query, key):
        projection.weight[:, _ZERO] = -projection.weight.sum(1)
        projection.weight.mul_(_SHARPNESS)


def _step_matrix(step: int) -> torch.Tensor:
    """Takes the one-hot vector of a place to that of the place `step` further; at the edge it stays where it is."""
    matrix = torch.zeros(GRID, GRID)
    origin = torch.arange(GRID)
    target = origin + step
    target = torch.where((target >= 0) & (target < GRID), target, origin)
    matrix[target, origin] = 1.0
    return matrix
