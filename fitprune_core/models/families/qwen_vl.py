"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: one picture at its own resolution, and every 2 x 2 of its patches one token.

A picture is resized to whole tokens (`smart_resize`), so that its shape hardly changes and its size decides how many
visual tokens there are. Positions in the decoder have three axes (M-RoPE); by the time a layer sees them they are one
pair of cosine and sine, so pruning need not know. Qwen3-VL adds visual features to the first layers' outputs as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transformers import ProcessorMixin, Qwen2_5_VLProcessor, Qwen2VLProcessor, Qwen3VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from fitprune_core.cost.tower import field_of, packed_layer_multiply_adds, window_rows
from fitprune_core.models.family import Family, Picture
from fitprune_core.models.layout import Frame, VisualLayout
from fitprune_core.models.processors import check_image_token, load_without_video, set_logged

_USER = (
    "{{ '<|im_start|>user\n' }}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n<|im_start|>assistant\n' }}"
)
_SYSTEM = "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"


class Qwen2VL(Family):
    """`Qwen2VLForConditionalGeneration`; what the later two do otherwise is in their classes."""

    name = "Qwen2-VL"
    model_types = ("qwen2_vl",)
    classes = ("Qwen2VLForConditionalGeneration",)
    shape = "reads a picture in its own shape"
    # In float16 Qwen2-VL and Qwen2.5-VL answer with exclamation marks (transformers issue 33294, vLLM issue 13817).
    cuda_dtype = "bfloat16"
    processor_class: type[ProcessorMixin] = Qwen2VLProcessor
    # What a prompt opens with, where a checkpoint has no chat template.
    system = _SYSTEM

    def load_processor(self, source: str) -> ProcessorMixin:
        return load_without_video(self.processor_class, source)

    def prepare_processor(self, processor: ProcessorMixin, config: Any) -> None:
        image_processor, vision = processor.image_processor, config.vision_config
        if not hasattr(type(image_processor), "merge_size"):
            raise ValueError(f"{type(image_processor).__name__} merges no patches, which {self.name} reads.")
        if not image_processor.do_resize:
            raise ValueError("the image processor resizes no picture (do_resize), so none need fill whole tokens.")
        set_logged(image_processor, "patch_size", vision.patch_size)
        set_logged(image_processor, "temporal_patch_size", vision.temporal_patch_size)
        set_logged(image_processor, "merge_size", vision.spatial_merge_size)
        check_image_token(processor, config)

    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        """One grid of tokens over the whole picture. Raises ValueError for one too narrow for the processor."""
        width, height = image_size
        image_processor = processor.image_processor
        merge = image_processor.merge_size
        side = image_processor.patch_size * merge
        limits = image_processor.size["shortest_edge"], image_processor.size["longest_edge"]
        down, across = smart_resize(height, width, side, *limits)
        rows, columns = down // side, across // side
        boxes = Frame(image_size, 0, 0, across, down).grid(rows, columns, side)
        whole = (0.0, 0.0, float(width), float(height))
        views = ("grid",) * len(boxes)
        return VisualLayout(image_size, tuple(boxes), rows, columns, whole, "native", views, merge=merge)

    def image_aspect(self, config: Any, processor: ProcessorMixin) -> str:
        return "native"

    def tower_multiply_adds(self, config: Any, picture: Picture) -> int:
        vision = config.vision_config
        return sum(self._one_tower_multiply_adds(vision, grid) for grid in picture.grids)

    def merger_multiply_adds(self, config: Any, picture: Picture) -> int:
        """The mergers read the patches of a token side by side, as wide as they are together, and keep that width
        until their last product.
        """
        vision = config.vision_config
        merged = field_of(vision, "spatial_merge_size") ** 2
        wide = merged * self.tower_width(vision)
        tokens = sum(math.prod(grid) for grid in picture.grids) // merged
        return self.mergers(vision) * tokens * wide * (wide + config.text_config.hidden_size)

    def chat_template(self, config: Any) -> str | None:
        return self.system + "{% for message in messages %}" + _USER + "{% endfor %}"

    def tower_width(self, vision: Any) -> int:
        """The width of the tower's layers. (Qwen2-VL's `hidden_size` is that of its decoder.)"""
        return field_of(vision, "embed_dim")

    def tower_mlp(self, vision: Any) -> tuple[int, int]:
        """How wide the MLP of a layer of the tower is, and how many products it has."""
        return int(self.tower_width(vision) * field_of(vision, "mlp_ratio")), 2

    def mergers(self, vision: Any) -> int:
        """How many mergers read the tower's patches."""
        return 1

    def attended_rows(self, vision: Any, grid: tuple[int, int, int], layer: int) -> Sequence[int]:
        """How many patches each group has whose patches attend to one another at a layer of the tower.

        grid: (frames, rows, columns) of patches.
        """
        frames, rows, columns = grid
        return [rows * columns] * frames

    def _one_tower_multiply_adds(self, vision: Any, grid: tuple[int, int, int]) -> int:
        width, (mlp, products) = self.tower_width(vision), self.tower_mlp(vision)
        of_patch = field_of(vision, "in_channels") * field_of(vision, "temporal_patch_size")
        convolution = math.prod(grid) * width * of_patch * field_of(vision, "patch_size") ** 2
        layers = (
            packed_layer_multiply_adds(self.attended_rows(vision, grid, layer), width, mlp, products)
            for layer in range(field_of(vision, "depth"))
        )
        return convolution + sum(layers)


class Qwen2_5VL(Qwen2VL):
    """`Qwen2_5_VLForConditionalGeneration`: a tower that attends in windows, but for a few layers, and gated MLPs."""

    name = "Qwen2.5-VL"
    model_types = ("qwen2_5_vl",)
    classes = ("Qwen2_5_VLForConditionalGeneration",)
    processor_class = Qwen2_5_VLProcessor

    def tower_width(self, vision: Any) -> int:
        return field_of(vision, "hidden_size")

    def tower_mlp(self, vision: Any) -> tuple[int, int]:
        return field_of(vision, "intermediate_size"), 3

    def attended_rows(self, vision: Any, grid: tuple[int, int, int], layer: int) -> Sequence[int]:
        if layer in field_of(vision, "fullatt_block_indexes"):
            return super().attended_rows(vision, grid, layer)
        frames, rows, columns = grid
        merge = field_of(vision, "spatial_merge_size")
        side = field_of(vision, "window_size") // merge // field_of(vision, "patch_size")
        return [count * merge**2 for count in window_rows(rows // merge, columns // merge, side)] * frames


class Qwen3VL(Qwen2VL):
    """`Qwen3VLForConditionalGeneration`: deepstack adds visual features to the outputs of the decoder's first layers
    (arXiv 2406.04334), one merger for each.
    """

    name = "Qwen3-VL"
    model_types = ("qwen3_vl",)
    classes = ("Qwen3VLForConditionalGeneration",)
    processor_class = Qwen3VLProcessor
    system = ""

    def first_drop_layer(self, config: Any) -> int:
        return _deepstack_layers(config.vision_config)

    def tower_width(self, vision: Any) -> int:
        return field_of(vision, "hidden_size")

    def tower_mlp(self, vision: Any) -> tuple[int, int]:
        return field_of(vision, "intermediate_size"), 2

    def mergers(self, vision: Any) -> int:
        return 1 + _deepstack_layers(vision)


def _deepstack_layers(vision: Any) -> int:
    """To how many of the decoder's layers, from the first on, visual features are added."""
    return sum(layer < field_of(vision, "depth") for layer in field_of(vision, "deepstack_visual_indexes"))
