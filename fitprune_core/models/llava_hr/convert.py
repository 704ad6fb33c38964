"""Turn a checkpoint of LLaVA-HR's authors into one that transformers loads.

    python -m fitprune_core.models.llava_hr.convert SOURCE DESTINATION

SOURCE holds config.json, the tokenizer, and weights as .safetensors or .bin; a tower.json in it overrides sizes that
the names of the towers imply. Weights keep their type; one file of them at a time is read, and no pickled code is run.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from fitprune_core.checks.files import read_json
from fitprune_core.checks.numbers import whole
from fitprune_core.checks.words import shown
from fitprune_core.models import llava_hr
from fitprune_core.models.checkpoint import NO_CODE
from fitprune_core.models.llava_hr.configuration import is_original, vision_config_of
from fitprune_core.models.llava_hr.keys import renamed

logger = logging.getLogger(__name__)

IMAGE_TOKEN, PAD_TOKEN = "<image>", "<pad>"
ROWS_AT_ONCE = 64  # the vocabulary grows to a multiple of this, as llava-hf's checkpoints do
VOCABULARY = ("model.language_model.embed_tokens.weight", "lm_head.weight")

# The authors' prompt, their "vicuna_v1".
CHAT_TEMPLATE = (
    "{{ 'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user\\'s questions. ' }}"
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'USER: ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% else %}{{ 'ASSISTANT: ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}"
    "{{ '</s>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def convert(source: Path, destination: Path) -> None:
    """Write the checkpoint in `source` to the new folder `destination`, with processor and configuration.

    Everything is checked before anything is written. Raises ValueError for a folder that is not LLaVA-HR's, and for
    weights that have no place, are missing, or have another shape.
    """
    if destination.exists():
        raise ValueError(f"{destination} exists already; name a new folder")
    original = read_json(source / "config.json", "configuration")
    if not isinstance(original, dict):
        raise ValueError(f"{source / 'config.json'} holds no object of settings, but {shown(original)}")
    if not is_original(original):
        raise ValueError(f"{source} is no checkpoint of LLaVA-HR's authors: its config.json names no vision_tower_slow")
    if original.get("mm_projector_type") != "mlp2x_gelu":
        raise ValueError(f"mm_projector_type is {shown(original.get('mm_projector_type'))}; only mlp2x_gelu is known")
    whole(f"vocab_size of {source / 'config.json'}", original.get("vocab_size"), 1)
    tower = source / "tower.json"
    llava_hr.register()
    vision = vision_config_of(original, read_json(tower, "configuration of the tower") if tower.is_file() else None)
    tokenizer = _tokenizer(source)
    config = _config(original, vision, tokenizer)
    shards = _shards(source)
    config.dtype = _check_weights(shards, config)
    destination.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: what a full disk leaves does not stand in the way of the next run.
    with TemporaryDirectory(dir=destination.parent, prefix=f"{destination.name}.partial-") as name:
        unfinished = Path(name) / destination.name
        unfinished.mkdir()
        _write_weights(shards, config, unfinished)
        config.save_pretrained(unfinished)
        GenerationConfig.from_model_config(config).save_pretrained(unfinished)
        _processor(config, tokenizer).save_pretrained(unfinished)
        unfinished.rename(destination)
    logger.info("wrote %s", destination)


def _config(original: dict, vision: llava_hr.LlavaHrVisionConfig, tokenizer: PreTrainedTokenizerBase) -> LlavaConfig:
    known = {field.name for field in fields(LlamaConfig)} | {"rope_theta", "rope_scaling"}
    known -= {"architectures", "model_type", "transformers_version", "dtype", "torch_dtype", "pad_token_id"}
    rows = max(original["vocab_size"], len(tokenizer))
    options = {
        **{name: value for name, value in original.items() if name in known},
        "vocab_size": -(-rows // ROWS_AT_ONCE) * ROWS_AT_ONCE,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**options),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=vision.grid**2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        architectures=["LlavaForConditionalGeneration"],
    )


def _tokenizer(source: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **NO_CODE)
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(
            f"the tokenizer in {source} cannot be read (one without a tokenizer.json needs the package sentencepiece): "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    tokenizer.add_tokens([IMAGE_TOKEN, PAD_TOKEN], special_tokens=True)
    tokenizer.pad_token, tokenizer.padding_side = PAD_TOKEN, "left"
    return tokenizer


def _processor(config: LlavaConfig, tokenizer: PreTrainedTokenizerBase) -> LlavaProcessor:
    side = config.vision_config.image_size
    image_processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        num_additional_image_tokens=0,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


def _shards(source: Path) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        if found := sorted(source.glob(pattern)):
            return found
    raise ValueError(f"{source} holds no weights: neither .safetensors nor pytorch_model*.bin")


def _read_weights(shard: Path) -> dict[str, Tensor]:
    """The weights of one file, mapped from the disk where possible."""
    try:
        if shard.suffix == ".safetensors":
            return load_file(shard)
        return torch.load(shard, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, UnpicklingError, RuntimeError) as error:
        raise ValueError(f"{shard} cannot be read as weights: {str(error).strip().splitlines()[0]}") from error


def _named_weights(shard: Path) -> Iterator[tuple[str, str, Tensor]]:
    """(authors' name, name here, weight) of every weight of a file that is used."""
    for key, weight in _read_weights(shard).items():
        if (name := renamed(key)) is not None:
            yield key, name, weight


def _check_weights(shards: list[Path], config: LlavaConfig) -> torch.dtype:
    """Raise ValueError unless every weight of the model is there once, in its shape. Returns their type."""
    with torch.device("meta"):
        missing = {name: weight.shape for name, weight in LlavaForConditionalGeneration(config).state_dict().items()}
    for shard in shards:
        for key, name, weight in _named_weights(shard):
            expected = missing.pop(name, None)
            if expected is None:
                raise ValueError(f"{shard.name} has {shown(key)}, which the model does not have, or which came before")
            fits = weight.shape[0] <= expected[0] and weight.shape[1:] == expected[1:]
            if weight.shape != expected and not (name in VOCABULARY and fits):
                raise ValueError(f"{shown(key)} has shape {tuple(weight.shape)}; the model needs {tuple(expected)}")
            dtype = weight.dtype
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(f"the checkpoint lacks {', '.join(sorted(missing)[:3])}{more}")
    return dtype


def _write_weights(shards: list[Path], config: LlavaConfig, destination: Path) -> None:
    """Write one file for each of `shards`, and the index that says what is where."""
    weight_map, size = {}, 0
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        weights = {name: _grown(name, weight, config).contiguous() for _, name, weight in _named_weights(shard)}
        save_file(weights, destination / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(weights, file))
        size += sum(weight.nbytes for weight in weights.values())
        logger.info("%s -> %s, %d weights", shard.name, file, len(weights))
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (destination / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _grown(name: str, weight: Tensor, config: LlavaConfig) -> Tensor:
    """A weight of the vocabulary with rows for the new tokens: the mean row, whose logit can never be the largest."""
    new = config.text_config.vocab_size - weight.shape[0] if name in VOCABULARY else 0
    if not new:
        return weight
    mean = weight.float().mean(dim=0, keepdim=True).to(weight.dtype)
    return torch.cat([weight, mean.expand(new, -1)])


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 2 for bad input, after one line on standard error."""
    parser = argparse.ArgumentParser(description="Turn a checkpoint of LLaVA-HR's authors into one for transformers.")
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        convert(options.source, options.destination)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
