"""What each visual token sees of a picture, by the processor's pixels and the model's own packing of features.

All functions give mean red and green, 0 to 255, of every token, (tokens, 2), from (model, processor, picture). They say
in another way than `visual_layout` where tokens lie; `tests.coordinates` compares.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from tests.coordinates import patch_colours


def single_view(model, processor, picture: Image.Image) -> np.ndarray:
    """LLaVA-1.5's one view, patch by patch, and LLaVA-HR's."""
    vision = model.config.vision_config
    patch = getattr(vision, "grid", None)
    return patch_colours(processor, picture, vision.image_size // patch if patch else vision.patch_size)


def packed_views(model, processor, picture: Image.Image) -> np.ndarray:
    """LLaVA-NeXT's and LLaVA-OneVision's views; newlines are -1."""
    made = processor.image_processor(picture, return_tensors="pt", do_normalize=False)
    vision = model.config.vision_config
    side = vision.image_size - vision.image_size % vision.patch_size
    means = torch.nn.functional.avg_pool2d(made["pixel_values"][0][:, :2, :side, :side] * 255, vision.patch_size)
    return packed(model, made["image_sizes"], means.flatten(2).transpose(1, 2))


def packed(model, image_sizes: torch.Tensor, features: torch.Tensor) -> np.ndarray:
    """What the model's packing makes of features (views, patches, width): (tokens, width), with newlines of -1."""
    options = {"image_sizes": image_sizes, "image_newline": torch.full((features.shape[-1],), -1.0)}
    if hasattr(model.config, "vision_aspect_ratio"):
        options["vision_aspect_ratio"] = model.config.vision_aspect_ratio
    else:
        options["vision_feature_select_strategy"] = model.config.vision_feature_select_strategy
    return model.model.pack_image_features([features], **options)[0][0].numpy()


def shuffled_views(model, processor, picture: Image.Image) -> np.ndarray:
    """InternVL's and Idefics3's tiles: patches' means through the model's pixel shuffle."""
    made = processor.image_processor(picture, return_tensors="pt", do_normalize=False, **processor.images_kwargs)
    pixels = made["pixel_values"].flatten(0, -4)[:, :2] * 255
    vision = model.config.vision_config
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    means = torch.nn.functional.avg_pool2d(pixels, patch).permute(0, 2, 3, 1)
    if hasattr(model.model, "connector"):
        connector = model.model.connector
        shuffled = connector.pixel_shuffle(means.flatten(1, 2).contiguous(), connector.scale_factor)
    else:
        shuffled = model.model.pixel_shuffle(means.contiguous(), model.config.downsample_ratio).flatten(1, 2)
    return shuffled.reshape(-1, shuffled.shape[-1] // 2, 2).mean(1).numpy()


def merged_patches(model, processor, picture: Image.Image) -> np.ndarray:
    """Qwen-VL's list of patches, which its merger takes together one after another."""
    sizes = processor.image_processor
    made = sizes(picture, return_tensors="np", do_normalize=False)
    shape = (-1, sizes.merge_size**2, 3, sizes.temporal_patch_size * sizes.patch_size**2)
    return made["pixel_values"].reshape(shape).mean(axis=(1, 3))[:, :2] * 255


def rows_of_tokens(model, processor, picture: Image.Image) -> np.ndarray:
    """Pixtral's squares of pixels, row by row."""
    side = model.config.vision_config.patch_size * getattr(model.config, "spatial_merge_size", 1)
    made = processor.image_processor(picture, return_tensors="np", do_normalize=False, patch_size=side)
    rows, columns = (length // side for length in made["pixel_values"].shape[2:])
    squares = (255 * made["pixel_values"][0, :2]).reshape(2, rows, side, columns, side)
    return squares.mean(axis=(2, 4)).reshape(2, -1).T
