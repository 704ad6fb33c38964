"""A tiny LLaVA-OneVision: SigLIP, tiles of which at most two views' tokens are kept, and Qwen2."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
)

from tests.tiny import QWEN_TEMPLATE, _scale_weights, tiny_llava


def save_tiny_onevision(path: str | Path, pixels_beside: int = 0, num_layers: int = 4) -> Path:
    """Write one as a folder in the layout of the Hub. pixels_beside: of each view's side, in no whole patch."""
    other, its_processor = tiny_llava(tower="siglip", decoder="qwen2", prompt="qwen", num_layers=num_layers)
    tokenizer, side = its_processor.tokenizer, 24 + pixels_beside
    pinpoints = [[side * down, side * across] for down in (1, 2, 3) for across in (1, 2, 3)]
    other.config.vision_config.image_size = side
    config = LlavaOnevisionConfig(
        vision_config=other.config.vision_config,
        text_config=other.config.text_config,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<pad>"),
        image_grid_pinpoints=pinpoints,
        vision_aspect_ratio="anyres_max_2",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    model = LlavaOnevisionForConditionalGeneration(config).float().eval()
    _scale_weights(model, 0)
    model.save_pretrained(path)
    image_processor = LlavaOnevisionImageProcessorPil(
        size={"height": side, "width": side}, image_grid_pinpoints=pinpoints
    )
    tokenizer.save_pretrained(path)
    image_processor.save_pretrained(path)
    (Path(path) / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    return Path(path)
