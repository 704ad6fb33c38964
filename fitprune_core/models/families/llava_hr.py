"""LLaVA-HR (arXiv 2403.03003): one padded square view through two towers, `models/llava_hr`, registered as one."""

from __future__ import annotations

from typing import Any

from fitprune_core.models.families.llava import Llava
from fitprune_core.models.family import Family


class LlavaHr(Llava):
    """A converted LLaVA-HR: transformers' LLaVA with a tower of this library."""

    name = "LLaVA-HR"
    shape = "always pads"
    patches = "mixes two towers, neither of which has a class token"
    set_image_aspect = Family.set_image_aspect
    check_tower_attention = Family.check_tower_attention

    def fits(self, config: Any) -> bool:
        return config.vision_config.model_type == "llava_hr_vision"
