"""What a picture costs before the decoder sees it: multiply-adds of vision towers and of LLaVA's projector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fitprune_core.checks.words import shown

# Tokens that a vision tower carries beside its patches. CLIP keeps a class token through all of its layers.
_CLASS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0, "llava_hr_vision": 0}


def field_of(config: Any, name: str) -> Any:
    """A field of a configuration. Raises ValueError naming it where there is none."""
    value = getattr(config, name, None)
    if value is None:
        raise ValueError(f"{type(config).__name__} has no {name}, which is needed to count its FLOPs")
    return value


def class_tokens(vision_config: Any) -> int:
    """Tokens that a vision tower carries beside its patches. Raises ValueError for a tower that is not known."""
    kind = getattr(vision_config, "model_type", None)
    if kind not in _CLASS_TOKENS:
        raise ValueError(f"a vision tower of type {shown(kind)} is not known; known: {', '.join(_CLASS_TOKENS)}")
    return _CLASS_TOKENS[kind]


def vit_multiply_adds(rows: int, width: int, mlp: int, layers: int) -> int:
    """Multiply-adds of a vision transformer's layers on `rows` that all attend to one another: q, k, v, o, attention,
    and an MLP of two products, `mlp` wide.
    """
    return layers * (4 * rows * width**2 + 2 * rows**2 * width + 2 * rows * width * mlp)


def square_view_multiply_adds(vision: Any, side: int, patch: int, class_tokens: int = 0) -> int:
    """Multiply-adds of a vision transformer for one square view: patch convolution and all layers.

    vision: its configuration. side, patch: in pixels. class_tokens: rows beside those of the patches.
    """
    width, patches = field_of(vision, "hidden_size"), (side // patch) ** 2
    mlp, layers = field_of(vision, "intermediate_size"), field_of(vision, "num_hidden_layers")
    convolution = patches * width * field_of(vision, "num_channels") * patch**2
    return convolution + vit_multiply_adds(patches + class_tokens, width, mlp, layers)


def packed_layer_multiply_adds(groups: Sequence[int], width: int, mlp: int, products: int) -> int:
    """Multiply-adds of one layer of a vision transformer whose rows attend to those of their own group alone.

    groups: rows of each group. mlp: width of the MLP, of two products, or three where one is a gate.
    """
    rows = sum(groups)
    return rows * width * (4 * width + products * mlp) + 2 * width * sum(count**2 for count in groups)


def window_rows(rows: int, columns: int, side: int) -> list[int]:
    """How many cells of a grid each window of `side` x `side` has; those at the right and the bottom are cut off."""
    down, across = ([min(side, length - at) for at in range(0, length, side)] for length in (rows, columns))
    return [height * width for height in down for width in across]


def view_multiply_adds(model_config: Any) -> int:
    """Multiply-adds of LLaVA's vision tower for one square view: patch convolution and all layers.

    transformers runs every layer of the tower, also those after `vision_feature_layer`, so every layer counts.
    """
    vision = field_of(model_config, "vision_config")
    extra = class_tokens(vision)
    if vision.model_type == "llava_hr_vision":
        return _two_path_multiply_adds(vision)
    side, patch = field_of(vision, "image_size"), field_of(vision, "patch_size")
    pooling = 0
    if vision.model_type == "siglip_vision_model" and getattr(vision, "vision_use_head", True):
        # SigLIP's attention pooling: one probe row attends to all patches, then goes through an MLP.
        width, patches = field_of(vision, "hidden_size"), (side // patch) ** 2
        pooling = 2 * (patches + 1) * width**2 + 2 * patches * width
        pooling += 2 * width * field_of(vision, "intermediate_size")
    return square_view_multiply_adds(vision, side, patch, extra) + pooling


def tower_scoring_multiply_adds(model_config: Any) -> int:
    """Multiply-adds of one layer's attention in a view: of the class token to all rows, or, without one, of all to all.

    Queries and keys are the tower's own, which are counted with it.
    """
    vision = model_config.vision_config
    extra = class_tokens(vision)
    rows = (field_of(vision, "image_size") // field_of(vision, "patch_size")) ** 2 + extra
    return (1 if extra else rows) * rows * field_of(vision, "hidden_size")


def _two_path_multiply_adds(vision: Any) -> int:
    """Multiply-adds of LLaVA-HR's tower for one picture: CLIP, ConvNeXt, and what mixes the second into the first."""
    clip, convnext = vision.clip_config, vision.convnext_config
    rows, width, slow = vision.grid**2, clip.hidden_size, convnext.hidden_sizes[-1]
    fast = vit_multiply_adds(rows, width, clip.intermediate_size, clip.num_hidden_layers)
    fast += rows * width * clip.num_channels * clip.patch_size**2
    side = vision.image_size // convnext.patch_size
    total = fast + side**2 * convnext.hidden_sizes[0] * convnext.num_channels * convnext.patch_size**2
    before = 0
    for channels, depth in zip(convnext.hidden_sizes, convnext.depths, strict=True):
        if before:
            side //= 2
            total += side**2 * 4 * before * channels
        total += depth * side**2 * (49 * channels + 8 * channels**2)  # a 7 x 7 depthwise convolution, and an MLP
        before = channels
    adapter = side**2 * slow * (slow + width) + rows * width * (49 + width)
    adapter += 2 * width * (width // 2) + width // 2  # the gate
    fusion = rows * width * (width + slow)
    return total + (3 * adapter if vision.use_adapters else 0) + fusion


def projector_multiply_adds(model_config: Any, width: int) -> int:
    """Multiply-adds of LLaVA's two-layer projector for one picture, over the rows that its tower hands on.

    width: of the decoder.
    """
    vision = model_config.vision_config
    feature_layer = getattr(model_config, "vision_feature_layer", -1)
    num_feature_layers = 1 if isinstance(feature_layer, int) else len(feature_layer)
    rows = (vision.image_size // vision.patch_size) ** 2
    if getattr(model_config, "vision_feature_select_strategy", "default") == "full":
        rows += class_tokens(vision)
    return rows * (vision.hidden_size * num_feature_layers * width + width**2)
