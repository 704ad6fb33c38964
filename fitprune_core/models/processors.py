"""Make a checkpoint's processor fit its model: how many placeholders a picture takes, and what becomes of its shape.

Older checkpoints of the Hub leave the first to defaults that have changed since, and a wrong number of placeholders is
found out only inside the model, if at all. The second is a choice: LLaVA-1.5 was trained, and FitPrune measured, on
pictures padded to a square, while the Hub's checkpoints cut their sides off.
"""

from __future__ import annotations

import logging
from typing import Any

from transformers import LlavaImageProcessorPil, ProcessorMixin

from fitprune_core.cost.tower import class_tokens

logger = logging.getLogger(__name__)

IMAGE_ASPECTS = ("auto", "crop", "pad")


def fit_processor(processor: ProcessorMixin, model_config: Any) -> None:
    """Set whatever decides the number of placeholders to what the model's configuration says.

    What was missing or different is logged. Raises ValueError, one sentence, for a processor that cannot be made to
    fit: of another picture size, without tiles where there must be some, or with another token for the image; and for a
    vision tower that is not known.
    """
    image_processor, vision = processor.image_processor, model_config.vision_config
    strategy = _select_strategy(model_config)
    _set(processor, "patch_size", vision.patch_size)
    _set(processor, "vision_feature_select_strategy", strategy)
    _set(processor, "num_additional_image_tokens", class_tokens(vision))
    if model_config.model_type == "llava_next":
        if not hasattr(image_processor, "image_grid_pinpoints"):
            raise ValueError(f"{type(image_processor).__name__} makes no tiles, which LLaVA-NeXT reads.")
        _set(image_processor, "image_grid_pinpoints", model_config.image_grid_pinpoints)
    made = _size_of_pixels(image_processor)
    if any(side // vision.patch_size != vision.image_size // vision.patch_size for side in made):
        raise ValueError(
            f"the image processor makes pictures of {made[0]} x {made[1]} pixels; the vision tower reads "
            f"{vision.image_size} x {vision.image_size}."
        )
    if processor.image_token_id != model_config.image_token_id:
        raise ValueError(
            f"the tokenizer's {processor.image_token} is token {processor.image_token_id}; the model takes token "
            f"{model_config.image_token_id} for the image."
        )


def set_image_aspect(processor: ProcessorMixin, model_config: Any, image_aspect: str) -> None:
    """Let a processor crop pictures to a square, or pad them to one, as LLaVA's authors do.

    image_aspect: "crop", "pad", or "auto" for what the checkpoint does by itself. The padding has the colour of the
    mean pixel. Raises ValueError for another value, and for models that read a picture's shape in a way of their own.
    """
    if image_aspect not in IMAGE_ASPECTS:
        raise ValueError(f"image_aspect is {image_aspect!r}; use {', '.join(IMAGE_ASPECTS)}.")
    if image_aspect == "auto":
        return
    if model_config.model_type == "llava_next":
        raise ValueError(f"image_aspect is {image_aspect!r}, but LLaVA-NeXT reads a picture in tiles of its own shape.")
    if model_config.vision_config.model_type == "llava_hr_vision":
        raise ValueError(f"image_aspect is {image_aspect!r}, but LLaVA-HR always pads; leave it at auto.")
    old = processor.image_processor
    if image_aspect == "crop" and not old.do_center_crop:
        raise ValueError("image_aspect is 'crop', but this checkpoint stretches pictures to its size; use pad or auto.")
    if image_aspect == "crop":
        old.do_pad = False
        return
    settings = {
        name: getattr(old, name)
        for name in ("size", "resample", "rescale_factor", "image_mean", "image_std", "do_normalize", "do_rescale")
    }
    processor.image_processor = LlavaImageProcessorPil(
        **settings, do_pad=True, do_center_crop=bool(old.do_center_crop), crop_size=old.crop_size or old.size
    )


def _select_strategy(model_config: Any) -> str:
    """Which of the tower's tokens the model keeps: "default" is all but the first, "full" is all."""
    strategy, vision = model_config.vision_feature_select_strategy, model_config.vision_config
    if strategy == "default" and not class_tokens(vision):
        raise ValueError(
            f"vision_feature_select_strategy is 'default', which drops a class token, but a tower of type "
            f"{vision.model_type!r} has none; it must be 'full'."
        )
    if strategy == "full" and class_tokens(vision) and model_config.model_type == "llava_next":
        raise ValueError(
            "vision_feature_select_strategy is 'full', but LLaVA-NeXT has no place for a class token among its tiles; "
            "it must be 'default'."
        )
    return strategy


def _size_of_pixels(image_processor: Any) -> tuple[int, int]:
    """(width, height) of what an image processor hands to the vision tower."""
    size = image_processor.crop_size if image_processor.do_center_crop else image_processor.size
    side = size.get("shortest_edge")
    return (side, side) if side else (size["width"], size["height"])


def _set(owner: Any, name: str, value: Any) -> None:
    old = getattr(owner, name, None)
    if old != value:
        logger.info("%s.%s was %r; the model's configuration says %r", type(owner).__name__, name, old, value)
        setattr(owner, name, value)
