"""Tiny random InternVL3 checkpoints in the Hub's `-hf` layout, with a Qwen2 or a Qwen3 decoder."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, InternVLForConditionalGeneration

from tests.families.weights import byte_tokenizer, scale_weights, write_json

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>",
)  # fmt: skip
# The chat template of OpenGVLab/InternVL3-1B-hf, without its branch for messages that are a string.
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif content['type'] == 'video' %}{{ '<video>\n' }}{% elif content['type'] == 'text' %}{{ content['text'] }}"
    "{% endif %}{% endfor %}{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)


def internvl_entries(
    decoder: str = "qwen2", *, side: int = 24, patch: int = 4, num_layers: int = 4, num_key_value_heads: int = 2
) -> dict:
    """The `config.json` of a tiny model whose tiles have `side` pixels, patches of `patch`, and every 2 x 2 one token.

    decoder: "qwen2" or "qwen3", whose queries and keys are normalised.
    """
    text = {
        "model_type": decoder,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": num_key_value_heads,
        "vocab_size": len(SPECIAL) + 256,
        "max_position_embeddings": 4096,
        "bos_token_id": SPECIAL.index("<|endoftext|>"),
        "eos_token_id": SPECIAL.index("<|im_end|>"),
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": num_layers,
        "tie_word_embeddings": False,
    }
    vision = {
        "model_type": "internvl_vision",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "attention_bias": True,
        "image_size": [side, side],
        "patch_size": [patch, patch],
        "norm_type": "layer_norm",
        "use_absolute_position_embeddings": True,
        "use_mean_pooling": True,
        "use_qk_norm": False,
    }
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "downsample_ratio": 0.5,
        "image_seq_length": (side // patch // 2) ** 2,
        "image_token_id": SPECIAL.index("<IMG_CONTEXT>"),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "text_config": text | ({"head_dim": 24} if decoder == "qwen3" else {}),
        "vision_config": vision,
    }


def save_tiny_internvl(path: str | Path, decoder: str = "qwen2", *, max_tiles: int = 6, seed: int = 0, **sizes) -> Path:
    """Write a tiny checkpoint with the files of the Hub's; returns its folder. sizes: as for `internvl_entries`."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    entries = internvl_entries(decoder, **sizes)
    write_json(path / "config.json", entries)
    model = InternVLForConditionalGeneration(AutoConfig.from_pretrained(path)).float()
    scale_weights(model, seed)
    model.save_pretrained(path)
    write_json(path / "config.json", entries)
    height, width = entries["vision_config"]["image_size"]
    pictures = {
        "crop_to_patches": False, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
        "image_processor_type": "GotOcr2ImageProcessorFast", "max_patches": max_tiles, "min_patches": 1,
        "processor_class": "InternVLProcessor", "size": {"height": height, "width": width},
    }  # fmt: skip
    write_json(path / "preprocessor_config.json", pictures)
    video = {**pictures, "video_processor_type": "InternVLVideoProcessor"}
    write_json(path / "video_preprocessor_config.json", video)
    seq_length = {"image_seq_length": entries["image_seq_length"], "processor_class": "InternVLProcessor"}
    write_json(path / "processor_config.json", seq_length)
    write_json(path / "chat_template.json", {"chat_template": TEMPLATE})
    tokenizer = byte_tokenizer(
        SPECIAL,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    tokenizer.save_pretrained(path)
    return path
