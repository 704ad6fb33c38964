"""A checkpoint in the layout of LLaVA-HR's authors: the tower and pixels of tests/data/llava_hr_tower.json (formula and
figures, with their source), and a small random decoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from tests.formula import noise

OFFICIAL = json.loads((Path(__file__).parent / "data" / "llava_hr_tower.json").read_text(encoding="utf-8"))
CASES = {case["input_px"]: case for case in (OFFICIAL["main"], *OFFICIAL["extra_cases"])}


def formula_weight(name: str, shape: list[int]) -> torch.Tensor:
    """The weight that the authors' tower had under this name."""
    values = noise(OFFICIAL["salt"] + name, int(np.prod(shape)))
    if name.endswith("bias"):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    else:
        values = values * (3.0 / np.prod(shape[1:])) ** 0.5
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def tower_weights() -> dict[str, torch.Tensor]:
    """Weights of the tower and the projector, by the authors' names."""
    return {name: formula_weight(name, shape) for name, shape in OFFICIAL["state_dict"].items()}


def formula_pixels(side: int) -> torch.Tensor:
    """The normalised picture that the authors' tower saw, (1, 3, side, side)."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    wave = np.sin(0.021 * (c + 1) * x + 0.4 * c) * np.cos(0.013 * (c + 2) * y) + np.sin(0.0007 * x * y / (c + 1))
    values = wave + 0.5 * noise(OFFICIAL["salt"] + "pixels", 3 * side * side).reshape(3, side, side)
    return torch.from_numpy(values.astype(np.float32))[None]


def tower_sizes() -> dict:
    """The tower's sizes, as a tower.json gives them."""
    convnext = OFFICIAL["config"]["convnext"]
    return {
        "clip": OFFICIAL["config"]["clip"],
        "convnext": {"depths": convnext["depths"], "hidden_sizes": convnext["dims"]},
    }


def largest_difference(found: torch.Tensor, figures: dict) -> float:
    """How far features (tokens, width) are from the figures of a case, over every value that was written down."""
    assert list(found.shape) == figures["shape"]
    differences = [abs(found.mean().item() - figures["mean"])]
    for name, row in figures.items():
        if name.startswith("token_"):
            token = found[int(name.removeprefix("token_"))]
            for part, expected in ((token[:16], row["first16"]), (token[-16:], row["last16"])):
                differences.append((part - torch.tensor(expected)).abs().max().item())
    assert len(differences) == 7
    return max(differences)


def write_checkpoint(folder: Path, *, safetensors: bool = False, change=None) -> dict[str, torch.Tensor]:
    """Write a whole checkpoint for pictures of 384 pixels, in two files. `change(weights)` may spoil it first."""
    width, words, generator = OFFICIAL["config"]["llm_hidden_size"], 130, torch.Generator().manual_seed(0)
    shapes = {"model.embed_tokens": (words, width), "lm_head": (words, width), "model.norm": (width,)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes |= {at + f"self_attn.{part}_proj": (width, width) for part in "qkvo"}
        shapes |= {at + "mlp.gate_proj": (64, width), at + "mlp.up_proj": (64, width)}
        shapes |= {at + "mlp.down_proj": (width, 64)}
        shapes |= {at + "input_layernorm": (width,), at + "post_attention_layernorm": (width,)}
    weights = {f"{name}.weight": torch.randn(shape, generator=generator) / 6 for name, shape in shapes.items()}
    weights |= tower_weights()
    if change:
        change(weights)
    folder.mkdir()
    names = list(weights)
    for number, part in enumerate((names[:40], names[40:]), start=1):
        shard = {name: weights[name] for name in part}
        if safetensors:
            save_file(shard, folder / f"model-0000{number}-of-00002.safetensors")
        else:
            torch.save(shard, folder / f"pytorch_model-0000{number}-of-00002.bin")
    (folder / "config.json").write_text(json.dumps(_config(width, words)), encoding="utf-8")
    (folder / "tower.json").write_text(json.dumps(tower_sizes()), encoding="utf-8")
    _tokenizer().save_pretrained(folder)
    return weights


def _config(width: int, words: int) -> dict:
    """A config.json as the authors' training writes it."""
    return {
        "model_type": "llava",
        "architectures": ["LlavaLlamaForCausalLM"],
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "vocab_size": words,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "mm_vision_tower": "a-tiny-clip",
        "vision_tower_slow": "a-tiny-convnext",
        "is_multipath_encoder": True,
        "freeze_vision": False,
        "input_image_size": 384,
        "mm_projector_type": "mlp2x_gelu",
        "image_aspect_ratio": "pad",
    }


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token a printable character, and neither <image> nor <pad>."""
    pieces = ["<s>", "</s>", "<unk>", *map(chr, range(128))][:130]
    backend = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], unk_token="<unk>"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
