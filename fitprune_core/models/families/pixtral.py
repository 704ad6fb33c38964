"""Pixtral (arXiv 2410.07073), in Llava's classes and in Mistral3's: a picture in its own shape, row by row of patches.

A picture is shrunk to a longest side and stretched to whole tokens, so that its size decides how many there are; the
tower knows their places by rotary embedding in two dimensions. In the prompt a token of text ends each row of patches,
another the last one: like all text they are never dropped. Mistral3 makes one token of a square of patches.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from transformers import ProcessorMixin
from transformers.image_utils import ChannelDimension
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

from fitprune_core.checks.words import shown
from fitprune_core.cost.tower import field_of, packed_layer_multiply_adds
from fitprune_core.models.checkpoint import NO_CODE
from fitprune_core.models.family import Family, Picture
from fitprune_core.models.layout import Frame, VisualLayout
from fitprune_core.models.processors import check_image_token, set_logged


class PixtralProcessor(ProcessorMixin):
    """A placeholder for each token of a picture, and a token of text at the end of each row.

    transformers' own cannot be imported without torchvision, though nothing in it needs that. It is told by this name
    to take the tokenizer as its file says, so the name is the same.
    """

    text_kwargs = {"return_tensors": "pt"}
    images_kwargs = {"return_tensors": "pt"}

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        patch_size=16,
        spatial_merge_size=1,
        chat_template=None,
        image_token="[IMG]",
        image_break_token="[IMG_BREAK]",
        image_end_token="[IMG_END]",
    ):
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.patch_size, self.spatial_merge_size = patch_size, spatial_merge_size
        self.image_token, self.image_break_token, self.image_end_token = image_token, image_break_token, image_end_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)

    @property
    def token_side(self) -> int:
        """Pixels across a token."""
        return self.patch_size * self.spatial_merge_size

    def _process_images(self, images, **kwargs):
        return super()._process_images(images, **kwargs | {"patch_size": self.token_side})

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        """What stands for a picture in the prompt."""
        height, width = image_inputs["image_sizes"][image_idx]
        row = self.image_token * (int(width) // self.token_side)
        return self.image_break_token.join([row] * (int(height) // self.token_side)) + self.image_end_token


class Pixtral(Family):
    """`LlavaForConditionalGeneration` with Pixtral's vision tower."""

    name = "Pixtral"
    model_types = ("llava",)
    classes = ("LlavaForConditionalGeneration",)
    shape = "reads a picture in its own shape"
    patches = "reads them by a tower that is neither CLIP nor SigLIP"

    def fits(self, config: Any) -> bool:
        return getattr(config.vision_config, "model_type", None) == "pixtral"

    def load_processor(self, source: str) -> ProcessorMixin:
        return PixtralProcessor.from_pretrained(source, backend="pil", **NO_CODE)

    def prepare_processor(self, processor: ProcessorMixin, config: Any) -> None:
        self.check(config)
        image_processor = processor.image_processor
        if not hasattr(type(image_processor), "patch_size"):
            raise ValueError(f"{type(image_processor).__name__} knows no patches, to which {self.name} fits a picture.")
        if not image_processor.do_resize or image_processor.do_center_crop:
            raise ValueError("the image processor must stretch pictures to whole tokens (do_resize), and crop none.")
        set_logged(processor, "patch_size", config.vision_config.patch_size)
        set_logged(processor, "spatial_merge_size", _merge(config))
        check_image_token(processor, config)
        tokenizer = processor.tokenizer
        for token in (processor.image_break_token, processor.image_end_token):
            if tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id):
                raise ValueError(
                    f"the tokenizer has no token {shown(token)}, which ends a row of {self.name}'s patches."
                )

    def check(self, config: Any) -> None:
        """Raise ValueError for a model that would drop a picture's first patch as a class token."""
        strategy = getattr(config, "vision_feature_select_strategy", "full")
        if strategy != "full":
            raise ValueError(
                f"vision_feature_select_strategy is {shown(strategy)}, which drops a class token, but a tower of type "
                "'pixtral' has none; it must be 'full'."
            )

    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        """One grid of tokens over the whole picture, by the image processor's own arithmetic."""
        (width, height), side = image_size, processor.token_side
        size = processor.image_processor.size
        limits = (size.longest_edge,) * 2 if size.longest_edge else (size.height, size.width)
        shape = np.broadcast_to(np.uint8(0), (height, width, 3))  # of which only the shape is looked at
        down, across = get_resize_output_image_size(shape, limits, side, ChannelDimension.LAST)
        rows, columns = down // side, across // side
        boxes = Frame(image_size, 0, 0, across, down).grid(rows, columns, side)
        whole, views = (0.0, 0.0, float(width), float(height)), ("grid",) * len(boxes)
        ends = tuple(range(columns - 1, len(boxes), columns))
        aspect = self.image_aspect(config, processor)
        return VisualLayout(
            image_size, tuple(boxes), rows, columns, whole, aspect, views, merge=_merge(config), row_ends=ends
        )

    def image_aspect(self, config: Any, processor: ProcessorMixin) -> str:
        return "native"

    def tower_multiply_adds(self, config: Any, picture: Picture) -> int:
        vision = config.vision_config
        width, mlp = field_of(vision, "hidden_size"), field_of(vision, "intermediate_size")
        patches = _patches(config, picture)
        convolution = patches * width * field_of(vision, "num_channels") * field_of(vision, "patch_size") ** 2
        return convolution + field_of(vision, "num_hidden_layers") * packed_layer_multiply_adds(
            [patches], width, mlp, 3
        )

    def merger_multiply_adds(self, config: Any, picture: Picture) -> int:
        wide = field_of(config.vision_config, "hidden_size")
        layers, width = config.vision_feature_layer, field_of(config.text_config, "hidden_size")
        tokens = _patches(config, picture) // _merge(config) ** 2
        projector = (1 if isinstance(layers, int) else len(layers)) * wide * width + width**2
        return tokens * (projector + self.merging_products(config) * wide**2)

    def merging_products(self, config: Any) -> int:
        """How many products, as wide as the tower, make one token of its patches, before the projector."""
        return 0

    def chat_template(self, config: Any) -> str | None:
        return (
            "{% for message in messages %}{{ '[INST]' }}{% for part in message['content'] %}"
            "{% if part['type'] == 'image' %}{{ '[IMG]' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
            "{{ '[/INST]' }}{% endfor %}"
        )


class Mistral3(Pixtral):
    """`Mistral3ForConditionalGeneration`, as Mistral Small 3.1: a learned product merges a square of patches."""

    name = "Mistral3"
    model_types = ("mistral3",)
    classes = ("Mistral3ForConditionalGeneration",)
    patches = Family.patches

    def merging_products(self, config: Any) -> int:
        return _merge(config) ** 2


def _merge(config: Any) -> int:
    """Patches across a token."""
    return getattr(config, "spatial_merge_size", 1)


def _patches(config: Any, picture: Picture) -> int:
    """Patches of a prompt's picture, which the processor has stretched to whole tokens."""
    patch = field_of(config.vision_config, "patch_size")
    return sum(math.prod(length // patch for length in size) for size in picture.sizes)
