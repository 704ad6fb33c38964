"""What the library must know of one kind of model, and how it finds out which kind a model is.

A family is a file in `families/`: its processor, where its visual tokens lie, what its vision tower costs, and what of
it cannot be pruned. Its decoder is nobody's business here: `decoder` looks at the modules themselves.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from fitprune_core.checks.words import shown
from fitprune_core.models.checkpoint import NO_CODE

if TYPE_CHECKING:
    import torch
    from transformers import ProcessorMixin

    from fitprune_core.models.layout import VisualLayout

# The families of each `model_type`, as module and class in `families/`. Where several share one, the first whose
# `fits` says so has the model.
FAMILIES: dict[str, tuple[tuple[str, str], ...]] = {
    "llava": (("llava_hr", "LlavaHr"), ("pixtral", "Pixtral"), ("llava", "Llava")),
    "llava_next": (("llava_next", "LlavaNext"),),
    "llava_onevision": (("llava_onevision", "LlavaOnevision"),),
    "qwen2_vl": (("qwen_vl", "Qwen2VL"),),
    "qwen2_5_vl": (("qwen_vl", "Qwen2_5VL"),),
    "qwen3_vl": (("qwen_vl", "Qwen3VL"),),
    "internvl": (("internvl", "InternVL"),),
    "idefics3": (("smolvlm", "SmolVLM"),),
    "smolvlm": (("smolvlm", "SmolVLM"),),
    "mistral3": (("pixtral", "Mistral3"),),
}


@dataclass(frozen=True)
class Picture:
    """What decides how much work a prompt's picture is for a vision tower: small integers, no tensors.

    Attributes:
        tiles: pictures of one size that the tower gets; 0 for a prompt without a picture.
        pixel_size: (height, width) of each of them, in pixels; None where patches arrive as a list (Qwen-VL).
        grids: (frames, rows, columns) of patches of each picture, where the processor gives them (`image_grid_thw`).
        sizes: (height, width) of each picture, where the processor gives them (`image_sizes`).
    """

    tiles: int = 1
    pixel_size: tuple[int, int] | None = None
    grids: tuple[tuple[int, int, int], ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()


def picture_of(inputs: Mapping[str, torch.Tensor]) -> Picture:
    """The integers of one prompt's picture. inputs: as `build_inputs` makes them."""
    pixels = inputs.get("pixel_values")
    if pixels is None:
        return Picture(tiles=0)
    tiles = 1
    pixel_size: tuple[int, int] | None = None
    if pixels.dim() >= 4:
        # LLaVA's processor gives (tiles, 3, height, width), LLaVA-NeXT's and Idefics3's (1, tiles, 3, height, width).
        tiles, pixel_size = pixels.shape[:-3].numel(), (pixels.shape[-2], pixels.shape[-1])
    grids, sizes = (
        tuple(tuple(row) for row in inputs[name].tolist()) if name in inputs else ()
        for name in ("image_grid_thw", "image_sizes")
    )
    return Picture(tiles, pixel_size, grids, sizes)


class Family(ABC):
    """One kind of model; it has no state. `config` is always the composite configuration of a checkpoint.

    Attributes:
        name: for people, "LLaVA-OneVision".
        model_types: what `config.model_type` says.
        classes: names of the transformers classes that it is, itself or by inheritance.
        shape: how it reads a picture's shape, in words that follow "but LLaVA-NeXT ...": why `image_aspect` cannot be
            chosen.
        patches: what it makes of its tower's patches, in words that follow its name: why visual tokens cannot be ranked
            by the tower's attention.
        cuda_dtype: the number format of "auto" on CUDA: "float16", or "bfloat16" where activations overflow that.
    """

    name: str
    model_types: tuple[str, ...]
    classes: tuple[str, ...]
    shape: str = "reads a picture in a shape of its own"
    patches: str = "makes one visual token of several patches"
    cuda_dtype: str = "float16"

    def fits(self, config: Any) -> bool:
        """Whether a model is of this family, where several families share one `model_type`."""
        return True

    def load_processor(self, source: str) -> ProcessorMixin:
        """The processor of a folder or Hub id, with image processors that need no torchvision."""
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(source, backend="pil", **NO_CODE)

    @abstractmethod
    def prepare_processor(self, processor: ProcessorMixin, config: Any) -> None:
        """Set whatever decides the number of placeholders to what the model's configuration says.

        Raises ValueError, one sentence, for a processor that cannot be made to fit.
        """

    def set_image_aspect(self, processor: ProcessorMixin, config: Any, image_aspect: str) -> None:
        """Let the processor "crop" pictures to a square, or "pad" them to one. Raises ValueError where it cannot."""
        raise ValueError(f"image_aspect is {shown(image_aspect)}, but {self.name} {self.shape}; leave it at auto.")

    def check(self, config: Any) -> None:
        """Raise ValueError, one sentence, for what of this family cannot be pruned, beside its decoder."""
        return None

    def visual_mask(self, config: Any, input_ids: torch.Tensor) -> torch.Tensor:
        """Which ids stand for parts of a picture: bool, of the shape of `input_ids`, (batch, length)."""
        return input_ids == config.image_token_id

    def check_tower_attention(self, config: Any) -> None:
        """Raise ValueError, one sentence, unless visual tokens are patches of one layer of a tower that is known
        (`models.tower_attention`), and have an attention there.
        """
        raise ValueError(
            f"visual tokens cannot be ranked by the vision tower's attention, since {self.name} {self.patches}; choose "
            "a method that ranks them elsewhere"
        )

    @abstractmethod
    def layout(self, config: Any, processor: ProcessorMixin, image_size: tuple[int, int]) -> VisualLayout:
        """Where each visual token lies in a picture of (width, height), in the order of the prompt."""

    @abstractmethod
    def image_aspect(self, config: Any, processor: ProcessorMixin) -> str:
        """What becomes of a picture's aspect ratio, as in `VisualLayout.aspect`."""

    @abstractmethod
    def tower_multiply_adds(self, config: Any, picture: Picture) -> int:
        """Multiply-adds of the vision tower for a picture, with all its tiles."""

    @abstractmethod
    def merger_multiply_adds(self, config: Any, picture: Picture) -> int:
        """Multiply-adds between tower and decoder (projector, merger, connector), with all tiles."""

    def first_drop_layer(self, config: Any) -> int:
        """The first layer (from 0) that may drop visual tokens: 0, but where later layers still add features to all."""
        return 0

    def chat_template(self, config: Any) -> str | None:
        """The prompt of checkpoints that have no chat template of their own, or None where none is known."""
        from fitprune_core.models.prompts import TEMPLATES

        return TEMPLATES.get(config.text_config.model_type)


def family_of(config_or_model: Any) -> Family:
    """The family of a model, or of its composite configuration. Raises ValueError, naming the known ones, for another.

    A model must be of one of the family's classes as well: a bare tower or decoder is none.
    """
    is_model = callable(getattr(config_or_model, "forward", None))
    config = getattr(config_or_model, "config", None) if is_model else config_or_model
    kind: Any = getattr(config, "model_type", None)
    candidates = [family_named(*place) for place in FAMILIES.get(kind, ())]
    family = next((one for one in candidates if one.fits(config)), None)
    if is_model:
        classes = {one.__name__ for one in type(config_or_model).__mro__}
        if family is None or classes.isdisjoint(family.classes):
            known = " or ".join(family.classes) if family else f"one of type {', '.join(FAMILIES)}"
            raise ValueError(
                f"the model is a {type(config_or_model).__name__}; it must be {known}{_way_out(config_or_model)}"
            )
    if family is None:
        raise ValueError(f"the model is of type {shown(kind)}; only {', '.join(FAMILIES)} can be pruned")
    return family


def _way_out(model: Any) -> str:
    """What to give instead of an object that is wrapped around a model, in words that follow a refusal."""
    if hasattr(model, "get_base_model"):  # peft's
        return "; give its `get_base_model()`, and call the wrapper inside the block"
    if type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
        return "; give its `.module`"
    return ""


def visual_mask(model_config: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """Which ids stand for parts of a picture: bool, of the shape of `input_ids`; see `Family.visual_mask`."""
    return family_of(model_config).visual_mask(model_config, input_ids)


@cache
def family_named(module: str, name: str) -> Family:
    """The one instance of a class in a module of `families/`."""
    return getattr(importlib.import_module(f"fitprune_core.models.families.{module}"), name)()


def all_families() -> tuple[Family, ...]:
    """Every family, each once, in the order of the registry."""
    return tuple(dict.fromkeys(family_named(*place) for places in FAMILIES.values() for place in places))
