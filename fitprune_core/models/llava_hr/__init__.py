"""LLaVA-HR on stock transformers: its vision tower, and a converter of its authors' checkpoints."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel

from fitprune_core.models.llava_hr.configuration import LlavaHrVisionConfig
from fitprune_core.models.llava_hr.modeling import LlavaHrVisionModel

__all__ = ["LlavaHrVisionConfig", "LlavaHrVisionModel", "register"]


def register() -> None:
    """Make the vision tower known to transformers, as often as one likes.

    It has to be done before a converted checkpoint is loaded; `fitprune_core.load_model` does it.
    """
    AutoConfig.register(LlavaHrVisionConfig.model_type, LlavaHrVisionConfig, exist_ok=True)
    AutoModel.register(LlavaHrVisionConfig, LlavaHrVisionModel, exist_ok=True)
