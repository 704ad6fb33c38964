"""The sizes of LLaVA-HR's vision tower (arXiv 2403.03003), and those of the towers that its authors published."""

from __future__ import annotations

from typing import Any

from transformers import CLIPVisionConfig, ConvNextConfig, PreTrainedConfig

from fitprune_core.checks.words import shown

# The fast path, by a part of the name that the authors' configuration gives it (`mm_vision_tower`).
CLIP_PRESETS = {
    "clip-vit-large-patch14-336": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    },
}

# The slow path (`vision_tower_slow`). timm builds the largest ConvNeXt with another epsilon than the rest.
CONVNEXT_PRESETS = {
    "convnext_large": {"depths": [3, 3, 27, 3], "hidden_sizes": [192, 384, 768, 1536], "layer_norm_eps": 1e-6},
    "convnext_xxlarge": {"depths": [3, 4, 30, 3], "hidden_sizes": [384, 768, 1536, 3072], "layer_norm_eps": 1e-5},
}


class LlavaHrVisionConfig(PreTrainedConfig):
    """Configuration of `LlavaHrVisionModel`.

    Attributes:
        clip_config: the fast path, a CLIP vision tower without its class token; its layers come in four groups.
        convnext_config: the slow path; its `layer_norm_eps` holds for every norm in it.
        image_size: width and height of the picture that both paths get, in pixels.
        use_adapters: whether the slow path is mixed in after each of the first three groups, beside the end.
        hidden_size, patch_size: worked out from the others: width of a visual token, and pixels of the picture that one
            token covers in each direction.

    Raises ValueError for sizes whose grids do not fit each other.
    """

    model_type = "llava_hr_vision"
    sub_configs_defaults = {"clip_config": CLIPVisionConfig, "convnext_config": ConvNextConfig}

    # Given as dictionaries or configurations; transformers makes configurations of them.
    clip_config: Any = None
    convnext_config: Any = None
    image_size: int = 1024
    use_adapters: bool = True
    # Worked out from the others; a checkpoint's file holds them too.
    hidden_size: Any = None
    patch_size: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        clip = self.clip_config
        if clip.num_hidden_layers % 4:
            raise ValueError(f"CLIP has {clip.num_hidden_layers} layers; LLaVA-HR needs a multiple of 4")
        if self.image_size % self.stride:
            raise ValueError(f"image_size is {self.image_size}; ConvNeXt needs a multiple of {self.stride} pixels")
        if self.grid % self.slow_grid or self.image_size % self.grid:
            raise ValueError(
                f"a picture of {self.image_size} pixels gives {self.grid} CLIP patches and {self.slow_grid} ConvNeXt "
                "patches a side, and these do not fit each other"
            )
        self.hidden_size = clip.hidden_size
        self.patch_size = self.image_size // self.grid

    @property
    def stride(self) -> int:
        """Pixels of the picture that one position of ConvNeXt's last map covers, in each direction."""
        return self.convnext_config.patch_size * 2 ** (self.convnext_config.num_stages - 1)

    @property
    def slow_grid(self) -> int:
        """Rows, and columns, of ConvNeXt's last map."""
        return self.image_size // self.stride

    @property
    def grid(self) -> int:
        """Rows, and columns, of visual tokens: as many as ConvNeXt's, but not fewer than CLIP was trained with."""
        return max(self.slow_grid, self.clip_config.image_size // self.clip_config.patch_size)


def is_original(config: dict[str, Any]) -> bool:
    """Whether a config.json is one of LLaVA-HR's authors. Its `model_type` does not tell: it is plain "llava"."""
    return bool(config.get("is_multipath_encoder") or config.get("vision_tower_slow"))


def vision_config_of(original: dict[str, Any], sizes: dict[str, Any] | None = None) -> LlavaHrVisionConfig:
    """The tower of a checkpoint in the authors' layout.

    original: its config.json. sizes: {"clip": {CLIPVisionConfig fields}, "convnext": {"depths", "hidden_sizes",
    "layer_norm_eps"}}, each optional, in place of what the names of the two towers imply. Raises ValueError for a name
    that is not known and for fields that do not exist.
    """
    sizes = sizes or {}
    _check_fields("tower.json", sizes, {"clip", "convnext"})
    clip, convnext = sizes.get("clip", {}), sizes.get("convnext", {})
    _check_fields("clip in tower.json", clip, set(CLIPVisionConfig().to_dict()))
    _check_fields("convnext in tower.json", convnext, {"depths", "hidden_sizes", "layer_norm_eps"})
    return LlavaHrVisionConfig(
        clip_config={**_preset("mm_vision_tower", original, CLIP_PRESETS, given="clip" in sizes), **clip},
        convnext_config={**_preset("vision_tower_slow", original, CONVNEXT_PRESETS, "convnext" in sizes), **convnext},
        image_size=original.get("input_image_size", LlavaHrVisionConfig.image_size),
        use_adapters=not original.get("freeze_vision", False),
    )


def _preset(field: str, original: dict[str, Any], presets: dict[str, dict], given: bool) -> dict[str, Any]:
    name = str(original.get(field, ""))
    for part, preset in presets.items():
        if part in name:
            return preset
    if given:
        return {"layer_norm_eps": 1e-6} if presets is CONVNEXT_PRESETS else {}
    raise ValueError(
        f"{field} is {shown(name)} in config.json; known are {', '.join(presets)}; describe another one in a tower.json"
    )


def _check_fields(place: str, found: Any, known: set[str]) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{place} must be an object, not {shown(found)}")
    if unknown := sorted(set(found) - known):
        raise ValueError(f"{place} has unknown fields: {', '.join(unknown)}")
