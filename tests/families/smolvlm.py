"""Tiny random Idefics3 and SmolVLM checkpoints in the Hub's layout: split tiles, a global view, text between them.

SmolVLM-256M-Instruct and SmolVLM-500M-Instruct are of type "idefics3", SmolVLM2 is of type "smolvlm".
"""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, AutoModelForImageTextToText

from tests.families.weights import byte_tokenizer, scale_weights, write_json

KINDS = ("idefics3", "smolvlm")
# Rows and columns that the tokenizer has names for, as in the Hub's (6 x 6).
PLACES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>",
    "<global-img>",
)  # fmt: skip
# The chat template of HuggingFaceTB/SmolVLM-256M-Instruct.
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def smolvlm_entries(
    kind: str = "idefics3",
    *,
    side: int = 24,
    patch: int = 4,
    scale: int = 2,
    num_layers: int = 4,
    num_key_value_heads: int = 2,
) -> dict:
    """The `config.json` of a tiny model: tiles of `side` pixels, patches of `patch`, `scale` x `scale` a token."""
    text = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": num_key_value_heads,
        "head_dim": 16,
        "vocab_size": len(SPECIAL) + len(PLACES) + 256,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "bos_token_id": SPECIAL.index("<|im_start|>"),
        "eos_token_id": SPECIAL.index("<end_of_utterance>"),
        "pad_token_id": SPECIAL.index("<|im_end|>"),
        "tie_word_embeddings": False,
    }
    vision = {
        "model_type": kind if kind == "idefics3" else "smolvlm_vision",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": patch,
        "num_channels": 3,
    }
    return {
        "architectures": [f"{'Idefics3' if kind == 'idefics3' else 'SmolVLM'}ForConditionalGeneration"],
        "model_type": kind,
        "image_token_id": SPECIAL.index("<image>"),
        "pad_token_id": SPECIAL.index("<|im_end|>"),
        "scale_factor": scale,
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": vision,
    }


def save_tiny_smolvlm(
    path: str | Path, kind: str = "idefics3", *, longest_edge: int | None = None, seed: int = 0, **sizes
) -> Path:
    """Write a tiny checkpoint with the files of the Hub's; returns its folder.

    longest_edge: of a picture before it is split, three tiles where left out. sizes: as for `smolvlm_entries`.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    entries = smolvlm_entries(kind, **sizes)
    write_json(path / "config.json", entries)
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(path)).float()
    scale_weights(model, seed)
    model.save_pretrained(path)
    write_json(path / "config.json", entries)
    side, patch = entries["vision_config"]["image_size"], entries["vision_config"]["patch_size"]
    name = "Idefics3" if kind == "idefics3" else "SmolVLM"
    pictures = {
        "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 1,
        "image_processor_type": f"{name}ImageProcessor", "max_image_size": {"longest_edge": side},
        "processor_class": f"{name}Processor", "size": {"longest_edge": longest_edge or 3 * side},
    }  # fmt: skip
    if kind == "smolvlm":
        sampling = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": side}}
        pictures |= {"video_sampling": sampling}
    write_json(path / "preprocessor_config.json", pictures)
    seq_len = (side // patch) ** 2 // entries["scale_factor"] ** 2
    write_json(path / "processor_config.json", {"image_seq_len": seq_len, "processor_class": f"{name}Processor"})
    write_json(path / "chat_template.json", {"chat_template": TEMPLATE})
    tokenizer = byte_tokenizer(
        SPECIAL,
        PLACES,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<fake_token_around_image>", "<image>", "<end_of_utterance>"],
    )
    tokenizer.save_pretrained(path)
    return path
