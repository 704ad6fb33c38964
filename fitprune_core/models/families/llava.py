"""LLaVA-1.5 and its kin: one square view of the picture through CLIP or SigLIP, and a projector of two layers."""

from __future__ import annotations

from typing import Any

from transformers import LlavaImageProcessorPil, ProcessorMixin

from fitprune_core.checks.words import shown
from fitprune_core.cost.tower import class_tokens, projector_multiply_adds, view_multiply_adds
from fitprune_core.models.family import Family, Picture
from fitprune_core.models.layout import Frame, VisualLayout
from fitprune_core.models.processors import check_image_token, check_picture_size, set_logged
from fitprune_core.models.tower_attention import TOWERS, read_layer


class Llava(Family):
    """`LlavaForConditionalGeneration`, as LLaVA-1.5 and LLaVA-Interleave are."""

    name = "LLaVA-1.5"
    model_types = ("llava",)
    classes = ("LlavaForConditionalGeneration",)

    def prepare_processor(self, processor: ProcessorMixin, config: Any) -> None:
        vision = config.vision_config
        set_logged(processor, "patch_size", vision.patch_size)
        set_logged(processor, "vision_feature_select_strategy", self.select_strategy(config))
        set_logged(processor, "num_additional_image_tokens", class_tokens(vision))
        self.prepare_image_processor(processor.image_processor, config)
        check_picture_size(processor.image_processor, vision)
        check_image_token(processor, config)

    def prepare_image_processor(self, image_processor: Any, config: Any) -> None:
        """What else has to be set, before the size of pictures is looked at."""
        return None

    def select_strategy(self, config: Any) -> str:
        """Which of the tower's tokens the model keeps: "default" is all but the first, "full" is all."""
        strategy, vision = config.vision_feature_select_strategy, config.vision_config
        if strategy == "default" and not class_tokens(vision):
            raise ValueError(
                f"vision_feature_select_strategy is 'default', which drops a class token, but a tower of type "
                f"{shown(vision.model_type)} has none; it must be 'full'."
            )
        return strategy

    def check_tower_attention(self, config: Any) -> None:
        kind = config.vision_config.model_type
        if kind not in TOWERS:
            raise ValueError(
                f"visual tokens cannot be ranked by the attention of a vision tower of type {shown(kind)}; known: "
                f"{', '.join(TOWERS)}"
            )
        if read_layer(config) is None:
            raise ValueError(
                f"vision_feature_layer is {shown(config.vision_feature_layer)}, but visual tokens can be ranked by the "
                "attention of one layer of the vision tower alone"
            )

    def set_image_aspect(self, processor: ProcessorMixin, config: Any, image_aspect: str) -> None:
        """Padding has the colour of the mean pixel, as LLaVA's authors pad."""
        old = processor.image_processor
        if image_aspect == "crop" and not old.do_center_crop:
            raise ValueError(
                "image_aspect is 'crop', but this checkpoint stretches pictures to its size; use pad or auto."
            )
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

    def image_aspect(self, config: Any, processor: ProcessorMixin) -> str:
        image_processor = processor.image_processor
        if getattr(image_processor, "do_pad", False):
            return "pad"
        return "crop" if image_processor.size.get("shortest_edge") else "stretch"

    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        """One view, cropped from the middle, padded to a square first, or stretched."""
        patch = config.vision_config.patch_size
        frame, (across, down) = _single_view_frame(processor.image_processor, image_size)
        rows, columns = down // patch, across // patch
        boxes, views = frame.grid(rows, columns, patch), ["grid"] * (rows * columns)
        extra = processor.num_additional_image_tokens - (processor.vision_feature_select_strategy == "default")
        if extra > 0:
            boxes, views = [None] * extra + boxes, ["class"] * extra + views
        # Pixels beyond the last whole patch are cut off by the tower (SigLIP's 384 pixels are 27 patches of 14).
        seen = frame.clipped(0, 0, columns * patch, rows * patch)
        aspect = self.image_aspect(config, processor)
        return VisualLayout(image_size, tuple(boxes), rows, columns, seen, aspect, tuple(views))

    def tower_multiply_adds(self, config: Any, picture: Picture) -> int:
        return picture.tiles * view_multiply_adds(config)

    def merger_multiply_adds(self, config: Any, picture: Picture) -> int:
        return picture.tiles * projector_multiply_adds(config, config.text_config.hidden_size)


def _single_view_frame(image_processor: Any, image_size: tuple[int, int]) -> tuple[Frame, tuple[int, int]]:
    """Where an image processor puts a picture, and the (width, height) of what the tower gets."""
    width, height = image_size
    padded = bool(getattr(image_processor, "do_pad", False))
    side = max(width, height)
    canvas = (side, side) if padded else image_size
    resized = _resized(image_processor.size, canvas)
    cropped = resized
    if image_processor.do_center_crop:
        cropped = (image_processor.crop_size["width"], image_processor.crop_size["height"])
    # Where the picture lies on the canvas, then the canvas in the crop; the processors round both down.
    across, down = resized[0] / canvas[0], resized[1] / canvas[1]
    left = (canvas[0] - width) // 2 * across - (resized[0] - cropped[0]) // 2
    top = (canvas[1] - height) // 2 * down - (resized[1] - cropped[1]) // 2
    return Frame(image_size, left, top, width * across, height * down), cropped


def _resized(size: Any, image_size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) after resizing by an image processor's `size`."""
    shortest = size.get("shortest_edge")
    if not shortest:
        return size["width"], size["height"]
    width, height = image_size
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest
