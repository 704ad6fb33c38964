"""Load a LLaVA as plain transformers objects: which checkpoint, on which device, with its processor made to fit."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PretrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from fitprune_core.models import llava_hr
from fitprune_core.models.checkpoint import NO_CODE, check_whole, damage_explained
from fitprune_core.models.devices import attention_options, choose_device, choose_dtype, placement, quantization_options
from fitprune_core.models.family import FAMILIES, family_of
from fitprune_core.models.memory import with_memory_explained
from fitprune_core.models.processors import fit_processor, set_image_aspect
from fitprune_core.recipes.shipped import shipped

logger = logging.getLogger(__name__)

MINI_LLAVA = "mini-llava"
MINI_LLAVA_FOLDER = shipped("assets", MINI_LLAVA)
HUB_DEFAULT = "llava-hf/llava-1.5-7b-hf"


def load_model(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    image_aspect: str = "auto",
    attn_implementation: str = "auto",
    quantization: str = "none",
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load a LLaVA and its processor, in evaluation mode.

    Args:
        name_or_path: a folder, an id of the Hugging Face Hub, "mini-llava" (the embedded model), or "auto" (see
            `resolve_name`).
        device: "auto" is CUDA where there is one, else the CPU. Where accelerate is installed weights are read straight
            onto it; without it they pass through main memory, which must then hold them all.
        dtype: "auto" is float16 on CUDA, bfloat16 for families that float16 is too narrow for, float32 elsewhere.
        image_aspect: what becomes of a picture that is no square: "crop", "pad", or "auto", the checkpoint's own way.
        attn_implementation: of the decoder: "sdpa", "eager" or "flash_attention_2"; "auto" is sdpa.
        quantization: "4bit" or "8bit" weights of the decoder, on CUDA by bitsandbytes; "none" leaves them as they are.

    The processor is made to fit the model where the checkpoint is silent or wrong about it (see `processors`).

    Raises ValueError, one sentence, for a folder or id that cannot be loaded, another kind of model, or an option that
    does not exist or cannot be here; MemoryError for a model that does not fit into the device.
    """
    name = resolve_name(name_or_path)
    device = choose_device(device)
    source = _find_source(name)
    llava_hr.register()
    with damage_explained(name):
        config = AutoConfig.from_pretrained(source, **NO_CODE)
        if config.model_type not in FAMILIES:
            raise ValueError(
                f"{name} is a model of type {config.model_type!r}; only {', '.join(FAMILIES)} can be pruned."
            )
        dtype = choose_dtype(dtype, device, family_of(config).cuda_dtype)
        options = {
            **placement(device),
            **attention_options(attn_implementation, device, dtype),
            **quantization_options(quantization, device, dtype),
        }
        processor = _load_processor(source, config, name, image_aspect)
        load = partial(_load_weights, source, name, device, dtype, options)
        hint = "Another dtype, fewer bits (quantization) or another device may do"
        model = with_memory_explained(load, device, f"the weights of {name}", hint)
    return model.eval(), processor


def _load_processor(source: str, config: PretrainedConfig, name: str, image_aspect: str) -> ProcessorMixin:
    family = family_of(config)
    processor = family.load_processor(source)
    try:
        fit_processor(processor, config)
    except ValueError as error:
        raise ValueError(f"The model {name!r} cannot be used: {error}") from error
    set_image_aspect(processor, config, image_aspect)
    if not processor.chat_template:
        processor.chat_template = family.chat_template(config)
    return processor


def _load_weights(
    source: str, name: str, device: torch.device, dtype: torch.dtype, options: dict[str, Any]
) -> PreTrainedModel:
    # Tensors of another shape are reported with those that are missing, and refused together.
    model, loading = AutoModelForImageTextToText.from_pretrained(
        source, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **NO_CODE, **options
    )
    check_whole(name, loading)
    # With a device map weights are where they belong, and quantised ones could not be moved.
    return model if "device_map" in options else model.to(device)


def resolve_name(name_or_path: str | Path) -> str:
    """Turn "auto" into a model: LLaVA-1.5-7B where there is CUDA and the Hub (or its cache) answers, else mini-llava.

    Every other name is returned as it is. The choice is logged.
    """
    name = str(name_or_path)
    if name != "auto":
        return name
    if not torch.cuda.is_available():
        logger.info("auto: no CUDA device here, so the model is %s", MINI_LLAVA)
        return MINI_LLAVA
    try:
        AutoConfig.from_pretrained(HUB_DEFAULT, **NO_CODE)
    except OSError as error:
        logger.info("auto: %s, so the model is %s", _first_sentence(error), MINI_LLAVA)
        return MINI_LLAVA
    logger.info("auto: CUDA is here and the Hub answers, so the model is %s", HUB_DEFAULT)
    return HUB_DEFAULT


def model_name(model: PreTrainedModel) -> str:
    """The name by which a model was loaded: "mini-llava", a Hub id, or the name of its folder."""
    source = model.config._name_or_path
    if source and Path(source).resolve() == MINI_LLAVA_FOLDER:
        return MINI_LLAVA
    if not source:
        return type(model).__name__
    return Path(source).resolve().name if Path(source).is_dir() else source


def _find_source(name: str) -> str:
    """The folder or Hub id to load from. A name that can only be a path must exist."""
    path = MINI_LLAVA_FOLDER if name == MINI_LLAVA else Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"The folder {path} holds no model: it has no config.json.")
        return str(path)
    if name != MINI_LLAVA and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return name
    raise ValueError(f"There is no model folder at {path}.")


def _first_sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".:")
