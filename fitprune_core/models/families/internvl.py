"""InternVL3 in its `-hf` layout (arXiv 2504.10479): square tiles of the stretched picture, then a thumbnail of it.

The tower sees each tile and the thumbnail alone, pixel shuffle makes one token of a square of its patches (2 x 2), and
tokens follow one another tile by tile, without text or line ends between them. A picture of one tile has no thumbnail.
"""

from __future__ import annotations

from typing import Any

from transformers import InternVLProcessor, ProcessorMixin
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from fitprune_core.checks.words import shown
from fitprune_core.cost.tower import field_of, square_view_multiply_adds
from fitprune_core.models.family import Family, Picture
from fitprune_core.models.layout import VisualLayout, tiles_layout
from fitprune_core.models.processors import check_image_token, load_without_video, set_logged


class PicturesAndText(InternVLProcessor):
    """InternVL's processor without videos, which takes a placeholder that a user typed for text.

    transformers' own counts such a placeholder as a picture before it has looked whether it was typed.
    """

    __call__ = ProcessorMixin.__call__

    @property
    def unused_input_names(self) -> list[str]:
        """What the image processor says for the prompt alone."""
        return ["num_patches"]


class InternVL(Family):
    """`InternVLForConditionalGeneration`, on one picture; its videos are not read here."""

    name = "InternVL3"
    model_types = ("internvl",)
    classes = ("InternVLForConditionalGeneration",)
    shape = "reads a picture in tiles of its own shape"

    def load_processor(self, source: str) -> ProcessorMixin:
        return load_without_video(PicturesAndText, source)

    def prepare_processor(self, processor: ProcessorMixin, config: Any) -> None:
        self.check(config)
        side, _ = _side_and_patch(config)
        image_processor = processor.image_processor
        if not hasattr(type(image_processor), "crop_to_patches"):
            raise ValueError(f"{type(image_processor).__name__} makes no tiles, which {self.name} reads.")
        size = image_processor.size
        if (size.height, size.width) != (side, side):
            raise ValueError(
                f"the image processor makes tiles of {size.width} x {size.height} pixels; the vision tower reads "
                f"{side} x {side}."
            )
        set_logged(processor, "image_seq_length", _tokens_per_side(config) ** 2)
        check_image_token(processor, config)

    def check(self, config: Any) -> None:
        """Raise ValueError for towers whose features pixel shuffle could not put into a square."""
        vision = config.vision_config
        for name in ("image_size", "patch_size"):
            height, width = getattr(vision, name)
            if height != width:
                raise ValueError(f"{name} of the vision tower is {height} x {width}; {self.name} needs a square.")
        strategy = config.vision_feature_select_strategy
        if strategy != "default":
            raise ValueError(
                f"vision_feature_select_strategy is {shown(strategy)}, but pixel shuffle has no place for a class "
                "token; it must be 'default'."
            )
        side, patch = _side_and_patch(config)
        if side // patch % _merge(config):
            raise ValueError(
                f"downsample_ratio is {config.downsample_ratio}, which does not divide {side // patch} patches a side."
            )

    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        """The picture is stretched to whole tiles, as many across and down as come nearest to its shape."""
        side, _ = _side_and_patch(config)
        rows, columns = _tiles(processor, image_size)
        aspect = self.image_aspect(config, processor)
        return tiles_layout(image_size, rows, columns, side, _tokens_per_side(config), _merge(config), aspect)

    def image_aspect(self, config: Any, processor: ProcessorMixin) -> str:
        return "anyres" if _cuts_tiles(processor) else "stretch"

    def tower_multiply_adds(self, config: Any, picture: Picture) -> int:
        side, patch = _side_and_patch(config)
        return picture.tiles * square_view_multiply_adds(config.vision_config, side, patch, class_tokens=1)

    def merger_multiply_adds(self, config: Any, picture: Picture) -> int:
        wide = field_of(config.vision_config, "hidden_size") * _merge(config) ** 2
        width = field_of(config.text_config, "hidden_size")
        return picture.tiles * _tokens_per_side(config) ** 2 * (wide * width + width**2)

    def chat_template(self, config: Any) -> str | None:
        return (
            "{% for message in messages %}{{ '<|im_start|>user\n' }}{% for part in message['content'] %}"
            "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
            "{{ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
        )


def _side_and_patch(config: Any) -> tuple[int, int]:
    """Side of a tile and of a patch, in pixels."""
    vision = config.vision_config
    return field_of(vision, "image_size")[0], field_of(vision, "patch_size")[0]


def _merge(config: Any) -> int:
    """Patches across a token."""
    return int(1 / config.downsample_ratio)


def _tokens_per_side(config: Any) -> int:
    side, patch = _side_and_patch(config)
    return side // patch // _merge(config)


def _cuts_tiles(processor: Any) -> bool:
    """Whether pictures are cut into tiles; in transformers the processor's choice goes before its image processor's."""
    image_processor = processor.image_processor
    return (
        processor.images_kwargs.get("crop_to_patches", image_processor.crop_to_patches)
        and image_processor.max_patches > 1
    )


def _tiles(processor: Any, image_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of tiles of a picture of (width, height)."""
    if not _cuts_tiles(processor):
        return 1, 1
    image_processor, (width, height) = processor.image_processor, image_size
    tile = (image_processor.size.height, image_processor.size.width)
    limits = (image_processor.min_patches, image_processor.max_patches)
    columns, rows = get_optimal_tiled_canvas((height, width), tile, *limits)
    return rows, columns
