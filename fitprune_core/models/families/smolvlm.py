"""SmolVLM and Idefics3 (arXiv 2504.05299, 2408.12637): square tiles and a global view, with text between them.

The picture is stretched to whole tiles; each tile's tokens follow a text that says its row and column, and a view of
the whole picture comes last. Pixel shuffle makes one token of a square of patches. The text between is text: it is
never dropped, and what comes after the last visual token is short.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from transformers import Idefics3Processor, ProcessorMixin
from transformers.models.idefics3.image_processing_pil_idefics3 import get_resize_output_image_size

from fitprune_core.cost.tower import field_of, square_view_multiply_adds
from fitprune_core.models.family import Family, Picture
from fitprune_core.models.layout import VisualLayout, tiles_layout
from fitprune_core.models.processors import check_image_token, load_without_video, set_logged


class PicturesAndText(Idefics3Processor):
    """Idefics3's processor, which writes SmolVLM's prompts too, and takes an <image> that a user typed for text.

    transformers' own counts such an <image> as a picture, and looks for places in the text that are not known once what
    users typed is kept apart. (SmolVLM's own processor needs num2words and torchvision, for videos.)
    """

    __call__ = ProcessorMixin.__call__

    def prepare_inputs_layout(self, images=None, text=None, videos=None, audio=None, **kwargs):
        """Pictures as a list for each prompt."""
        images, text = super().prepare_inputs_layout(images=images, text=text, **kwargs)
        return images, text, videos, audio

    @property
    def unused_input_names(self) -> list[str]:
        """What the image processor says for the prompt alone."""
        return ["rows", "cols"]


class SmolVLM(Family):
    """`Idefics3ForConditionalGeneration` (Idefics3, SmolVLM) and `SmolVLMForConditionalGeneration` (SmolVLM2)."""

    name = "SmolVLM"
    model_types = ("idefics3", "smolvlm")
    classes = ("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration")
    shape = "reads a picture in tiles of its own shape"

    def load_processor(self, source: str) -> ProcessorMixin:
        return load_without_video(PicturesAndText, source)

    def prepare_processor(self, processor: ProcessorMixin, config: Any) -> None:
        self.check(config)
        image_processor, side = processor.image_processor, config.vision_config.image_size
        if not hasattr(type(image_processor), "do_image_splitting"):
            raise ValueError(f"{type(image_processor).__name__} makes no tiles, which {self.name} reads.")
        made = _tile_side(image_processor)
        if made != side:
            raise ValueError(
                f"the image processor makes tiles of {made} x {made} pixels (max_image_size); the vision tower reads "
                f"{side} x {side}."
            )
        set_logged(processor, "image_seq_len", _tokens_per_side(config) ** 2)
        check_image_token(processor, config)

    def check(self, config: Any) -> None:
        """Raise ValueError for a pixel shuffle that does not fit the tower's patches."""
        vision = config.vision_config
        per_side = vision.image_size // vision.patch_size
        if per_side % config.scale_factor:
            raise ValueError(f"scale_factor is {config.scale_factor}, which does not divide {per_side} patches a side.")

    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        rows, columns = _tiles(processor.image_processor, image_size)
        side, per_side = config.vision_config.image_size, _tokens_per_side(config)
        aspect = self.image_aspect(config, processor)
        return tiles_layout(image_size, rows, columns, side, per_side, config.scale_factor, aspect)

    def image_aspect(self, config: Any, processor: ProcessorMixin) -> str:
        return "anyres" if processor.image_processor.do_image_splitting else "stretch"

    def tower_multiply_adds(self, config: Any, picture: Picture) -> int:
        vision = config.vision_config
        side, patch = field_of(vision, "image_size"), field_of(vision, "patch_size")
        return picture.tiles * square_view_multiply_adds(vision, side, patch)

    def merger_multiply_adds(self, config: Any, picture: Picture) -> int:
        wide = field_of(config.vision_config, "hidden_size") * config.scale_factor**2
        return picture.tiles * _tokens_per_side(config) ** 2 * wide * field_of(config.text_config, "hidden_size")

    def chat_template(self, config: Any) -> str | None:
        return (
            "<|im_start|>{% for message in messages %}{{ 'User:' }}"
            "{% if message['content'][0]['type'] != 'image' %}{{ ' ' }}{% endif %}{% for part in message['content'] %}"
            "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
            "{{ '<end_of_utterance>\n' }}{% endfor %}{{ 'Assistant:' }}"
        )


def _tile_side(image_processor: Any) -> int:
    return image_processor.max_image_size["longest_edge"]


def _tokens_per_side(config: Any) -> int:
    vision = config.vision_config
    return field_of(vision, "image_size") // field_of(vision, "patch_size") // config.scale_factor


def _tiles(image_processor: Any, image_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of tiles of a picture of (width, height), by the arithmetic of `resize_for_vision_encoder`."""
    if not image_processor.do_image_splitting:
        return 1, 1
    (width, height), side = image_size, _tile_side(image_processor)
    if image_processor.do_resize:
        shape = np.broadcast_to(np.uint8(0), (height, width))  # of which only the shape is looked at
        height, width = get_resize_output_image_size(shape, image_processor.size["longest_edge"])
    aspect_ratio = width / height
    if width >= height:
        columns = math.ceil(width / side)
        return max(math.ceil(int(columns * side / aspect_ratio) / side), 1), columns
    rows = math.ceil(height / side)
    return rows, max(math.ceil(int(rows * side * aspect_ratio) / side), 1)
