"""Tiny random Qwen2-VL, Qwen2.5-VL and Qwen3-VL, as folders with the files that the Hub's checkpoints have.

The configurations are those of the Hub in kind: Qwen2-VL's and Qwen2.5-VL's are flat (the decoder's fields beside
`vision_config`, the rotary embedding in `rope_scaling`), Qwen3-VL's is nested, and each says "qwen..._vl" where newer
versions of transformers say "qwen..._vl_vision". Patches, merging and windows have their real sizes.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast

from tests.families.weights import byte_tokenizer, write_json

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
_PARTS = (
    "{{ '<|im_start|>' + message['role'] + '\n' }}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}"
)
_SYSTEM = (
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
)
_END = "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATES = {
    "qwen2_vl": "{% for message in messages %}" + _SYSTEM + _PARTS + _END,
    "qwen2_5_vl": "{% for message in messages %}" + _SYSTEM + _PARTS + _END,
    "qwen3_vl": "{% for message in messages %}" + _PARTS + _END,
}
# The pixels of a picture that the tests look at: at least 4 tokens, at most 64.
PIXELS = {"qwen2_vl": (56 * 56, 64 * 28 * 28), "qwen2_5_vl": (56 * 56, 64 * 28 * 28), "qwen3_vl": (64**2, 64 * 32 * 32)}


def tiny_qwen_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and Qwen's special tokens; nothing opens a text."""
    others = list(SPECIAL[1:])
    return byte_tokenizer(SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=others)


def tiny_qwen_entries(kind: str, num_layers: int = 5, num_key_value_heads: int = 2) -> dict:
    """The `config.json` of a tiny model of a kind."""
    ids = {piece: SPECIAL.index(piece) for piece in SPECIAL}
    text = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": num_key_value_heads,
        "vocab_size": len(SPECIAL) + 256,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
    }
    entries = {
        "model_type": kind,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": False,
        "vision_config": _VISION[kind](),
    }
    if kind == "qwen3_vl":
        scaling = {"mrope_interleaved": True, "mrope_section": [4, 4, 4], "rope_type": "default"}
        text |= {"model_type": "qwen3_vl_text", "head_dim": 24, "rope_theta": 5e6, "rope_scaling": scaling}
        return entries | {"architectures": ["Qwen3VLForConditionalGeneration"], "text_config": text}
    text |= {
        "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "use_sliding_window": False,
        "sliding_window": 32768,
        "max_window_layers": num_layers,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
    }
    name = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}[kind]
    return entries | text | {"architectures": [f"{name}ForConditionalGeneration"]}


_TOWER = {"depth": 3, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2}
_VISION = {
    "qwen2_vl": lambda: {
        **_TOWER, "model_type": "qwen2_vl", "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 3, "in_chans": 3,
        "hidden_act": "quick_gelu", "patch_size": 14, "spatial_patch_size": 14,
    },
    "qwen2_5_vl": lambda: {
        **_TOWER, "model_type": "qwen2_5_vl", "hidden_size": 32, "intermediate_size": 72, "out_hidden_size": 64,
        "in_chans": 3, "hidden_act": "silu", "patch_size": 14, "spatial_patch_size": 14, "window_size": 112,
        "fullatt_block_indexes": [1], "tokens_per_second": 2,
    },
    "qwen3_vl": lambda: {
        **_TOWER, "model_type": "qwen3_vl", "hidden_size": 32, "intermediate_size": 72, "out_hidden_size": 64,
        "in_channels": 3, "hidden_act": "gelu_pytorch_tanh", "patch_size": 16, "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    },
}  # fmt: skip


def preprocessor_entries(kind: str) -> dict:
    """The `preprocessor_config.json` of a kind."""
    smallest, largest = PIXELS[kind]
    if kind == "qwen3_vl":
        return {
            "size": {"shortest_edge": smallest, "longest_edge": largest},
            "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
            "processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessorFast",
        }  # fmt: skip
    name = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}[kind]
    return {
        "min_pixels": smallest, "max_pixels": largest, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": f"{name}Processor",
    }  # fmt: skip


def save_tiny_qwen(path: str | Path, kind: str, *, seed: int = 0, **options) -> Path:
    """Write a tiny checkpoint, options as for `tiny_qwen_entries`; returns its folder."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    entries = tiny_qwen_entries(kind, **options)
    write_json(path / "config.json", entries)
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(path)).float()
    scale_weights(model, seed)
    model.save_pretrained(path)
    write_json(path / "config.json", entries)  # in the layout of the Hub, not that of this transformers
    write_json(path / "preprocessor_config.json", preprocessor_entries(kind))
    if kind == "qwen3_vl":
        video = {**preprocessor_entries(kind), "video_processor_type": "Qwen3VLVideoProcessor"}
        write_json(path / "video_preprocessor_config.json", video)
    write_json(path / "chat_template.json", {"chat_template": TEMPLATES[kind]})
    tiny_qwen_tokenizer().save_pretrained(path)
    return path


def scale_weights(model: PreTrainedModel, seed: int) -> None:
    """Weights at the scale that keeps activations at one, and norms that differ from one another.

    Queries and keys are larger, for peaked attention, and so are what deepstack and merger add, for attention that
    differs between visual tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                middle = 1.0 if "norm" in name or "ln_q" in name else 0.0
                weight.copy_(
                    middle * (not name.endswith("bias")) + 0.1 * torch.randn(weight.shape, generator=generator)
                )
                continue
            gain = 1.6 if ("q_proj" in name or "k_proj" in name) else 1.0
            fan_in = 1 if "embed_tokens" in name else weight[0].numel()
            weight.normal_(0, gain / math.sqrt(fan_in), generator=generator)
