"""Make a checkpoint's processor fit its model: how many placeholders a picture takes, and what becomes of its shape.

Older checkpoints of the Hub leave the first to defaults that have changed since, and a wrong number of placeholders is
found out only inside the model, if at all. The second is a choice: LLaVA-1.5 was trained, and FitPrune measured, on
pictures padded to a square, while the Hub's checkpoints cut their sides off. What exactly has to fit is the family's
business (`family.Family.prepare_processor`); what families share of it is here.
"""

from __future__ import annotations

import logging
from typing import Any

from transformers import ProcessorMixin

from fitprune_core.checks.words import shown
from fitprune_core.models.checkpoint import NO_CODE
from fitprune_core.models.family import family_of

logger = logging.getLogger(__name__)

ASPECT_OPTIONS = ("auto", "crop", "pad")


def fit_processor(processor: ProcessorMixin, model_config: Any) -> None:
    """Set whatever decides the number of placeholders to what the model's configuration says.

    What was missing or different is logged. Raises ValueError, one sentence, for a processor that cannot be made to
    fit: of another picture size, without tiles where there must be some, or with another token for the image; and for a
    vision tower that is not known.
    """
    family_of(model_config).prepare_processor(processor, model_config)
    # `generate` goes on from the last token of every row, which must not be padding.
    set_logged(processor.tokenizer, "padding_side", "left")


def set_image_aspect(processor: ProcessorMixin, model_config: Any, image_aspect: str) -> None:
    """Let a processor crop pictures to a square, or pad them to one, as LLaVA's authors do.

    image_aspect: "crop", "pad", or "auto" for what the checkpoint does by itself. Raises ValueError for another value,
    and for models that read a picture's shape in a way of their own.
    """
    if image_aspect not in ASPECT_OPTIONS:
        raise ValueError(f"image_aspect is {shown(image_aspect)}; use {', '.join(ASPECT_OPTIONS)}.")
    if image_aspect != "auto":
        family_of(model_config).set_image_aspect(processor, model_config, image_aspect)


def load_without_video(processor_class: type[ProcessorMixin], source: str) -> ProcessorMixin:
    """The processor of a folder or Hub id for pictures and text alone.

    transformers' video processors cannot be loaded without torchvision, and a processor is not loaded without the parts
    that its class names; so this loads a class of the same name that names no video. source: a folder or Hub id.
    """
    parts = [part for part in processor_class.get_attributes() if part != "video_processor"]
    entries = {"get_attributes": classmethod(lambda cls: list(parts)), "__module__": processor_class.__module__}
    pictures_and_text: type[ProcessorMixin] = type(processor_class.__name__, (processor_class,), entries)
    return pictures_and_text.from_pretrained(source, backend="pil", **NO_CODE)


def set_logged(owner: Any, name: str, value: Any) -> None:
    """Set a processor's attribute to what the model says, and log where that changes it."""
    old = getattr(owner, name, None)
    if old != value:
        logger.info("%s.%s was %r; the model's configuration says %r", type(owner).__name__, name, old, value)
        setattr(owner, name, value)


def check_picture_size(image_processor: Any, vision_config: Any) -> None:
    """Raise ValueError unless an image processor makes square pictures of as many patches as the tower reads."""
    size = image_processor.crop_size if getattr(image_processor, "do_center_crop", False) else image_processor.size
    side = size.get("shortest_edge")
    made = (side, side) if side else (size["width"], size["height"])
    if any(side // vision_config.patch_size != vision_config.image_size // vision_config.patch_size for side in made):
        raise ValueError(
            f"the image processor makes pictures of {made[0]} x {made[1]} pixels; the vision tower reads "
            f"{vision_config.image_size} x {vision_config.image_size}."
        )


def check_image_token(processor: Any, model_config: Any) -> None:
    """Raise ValueError unless tokenizer and model mean the same token by the image."""
    if processor.image_token_id != model_config.image_token_id:
        raise ValueError(
            f"the tokenizer's {processor.image_token} is token {processor.image_token_id}; the model takes token "
            f"{model_config.image_token_id} for the image."
        )
