"""Tiny random Pixtral checkpoints in the Hub's layout: in Llava's classes, as mistral-community/pixtral-12b, and in
Mistral3's, which merge 2 x 2 patches.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import processors
from transformers import AutoConfig, AutoModelForImageTextToText

from tests.families.weights import byte_tokenizer, scale_weights, write_json

KINDS = ("llava", "mistral3")
# Their numbers in Mistral's tokenizers, the picture's being 10.
SPECIAL = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]",
)  # fmt: skip
# The chat template of mistral-community/pixtral-12b, for users' messages alone.
TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}{{- '[INST]' }}{%- for chunk in message['content'] %}"
    "{%- if chunk['type'] == 'text' %}{%- if 'content' in chunk %}{{- chunk['content'] }}{%- elif 'text' in chunk %}"
    "{{- chunk['text'] }}{%- endif %}{%- elif chunk['type'] == 'image' %}{{- '[IMG]' }}{%- endif %}{%- endfor %}"
    "{{- '[/INST]' }}{%- endfor %}"
)


def pixtral_entries(
    kind: str = "llava", *, patch: int = 4, num_layers: int = 4, num_key_value_heads: int = 2, head_dim: int = 24
) -> dict:
    """The `config.json` of a tiny model. Its heads together are wider than the decoder, as 12B's are narrower."""
    text = {
        "model_type": "mistral",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": num_key_value_heads,
        "head_dim": head_dim,
        "vocab_size": len(SPECIAL) + 256,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 32,
        "intermediate_size": 72,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "image_size": 16 * patch,
        "patch_size": patch,
        "rope_theta": 10000.0,
    }
    of_kind = (
        {"image_seq_length": 1, "vision_feature_select_strategy": "full", "multimodal_projector_bias": True}
        if kind == "llava"
        else {"spatial_merge_size": 2, "multimodal_projector_bias": False}
    )
    return {
        "architectures": [f"{'Llava' if kind == 'llava' else 'Mistral3'}ForConditionalGeneration"],
        "model_type": kind,
        "image_token_index": SPECIAL.index("[IMG]"),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": vision,
        **of_kind,
    }


def save_tiny_pixtral(
    path: str | Path, kind: str = "llava", *, longest_edge: int | None = None, seed: int = 0, **sizes
) -> Path:
    """Write a tiny checkpoint with the files of the Hub's; returns its folder.

    longest_edge: of a picture in the tower, in pixels; 16 patches where left out. sizes: as for `pixtral_entries`.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    entries = pixtral_entries(kind, **sizes)
    write_json(path / "config.json", entries)
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(path)).float()
    scale_weights(model, seed)
    model.save_pretrained(path)
    write_json(path / "config.json", entries)
    patch = entries["vision_config"]["patch_size"]
    pictures = {
        "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "PixtralImageProcessor", "patch_size": {"height": patch, "width": patch},
        "processor_class": "PixtralProcessor", "resample": 3, "rescale_factor": 1 / 255,
        "size": {"longest_edge": longest_edge or 16 * patch},
    }  # fmt: skip
    write_json(path / "preprocessor_config.json", pictures)
    names = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    merge = {"spatial_merge_size": entries["spatial_merge_size"]} if kind == "mistral3" else {}
    write_json(
        path / "processor_config.json", names | merge | {"patch_size": patch, "processor_class": "PixtralProcessor"}
    )
    write_json(path / "chat_template.json", {"chat_template": TEMPLATE})
    tokenizer = byte_tokenizer(SPECIAL, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    opening = [("<s>", SPECIAL.index("<s>"))]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=opening)
    tokenizer.save_pretrained(path)
    # Mistral3's says Llama's, which has another vocabulary; transformers' Pixtral processor takes the file as it is.
    config = json.loads((path / "tokenizer_config.json").read_text())
    named = "PreTrainedTokenizerFast" if kind == "llava" else "LlamaTokenizerFast"
    write_json(path / "tokenizer_config.json", config | {"tokenizer_class": named})
    return path
