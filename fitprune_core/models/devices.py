"""What a model runs on: the device, the number format, the attention backend and quantised weights, chosen or refused.

Nothing is loaded here, so that whatever cannot be is said before gigabytes of weights are read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils import is_accelerate_available, is_bitsandbytes_available, is_flash_attn_2_available

from fitprune_core.checks.words import shown

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FLASH_ATTENTION = "flash_attention_2"
ATTENTION_KERNELS = ("auto", "sdpa", "eager", FLASH_ATTENTION)
QUANTIZATIONS = ("none", "4bit", "8bit")

# Modules that stay as they are in a quantised model, by the whole names that the families give them: the layers of the
# decoder hold nearly all weights, and the rest is sensitive to errors.
_TOWERS = ["model.vision_tower", "model.visual", "model.vision_model"]
NOT_QUANTIZED = [*_TOWERS, "model.multi_modal_projector", "model.connector", "lm_head"]


def choose_device(device: str | torch.device) -> torch.device:
    """The device that is meant: "auto" is CUDA where there is one, else the CPU. Raises ValueError for one not here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device is {shown(device)}; use auto, cpu, or cuda.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {shown(device)}, but this machine has no CUDA device; use auto or cpu.")
    return chosen


def device_of_process(asked: str, count: int, local_rank: int) -> str:
    """The device of one of `count` processes: each on a machine takes a GPU of its own, in turns where these are fewer.

    asked: as the user named it, for all of them. Raises ValueError for a GPU with a number, which all would share.
    """
    if count == 1 or asked == "cpu":
        return asked
    if asked not in ("auto", "cuda"):
        raise ValueError(f"device is {shown(asked)} for {count} processes, which would share it; use auto, cuda or cpu")
    if not torch.cuda.is_available():
        return "cpu" if asked == "auto" else asked
    return f"cuda:{local_rank % torch.cuda.device_count()}"


def choose_dtype(dtype: str | torch.dtype, device: torch.device, on_cuda: str = "float16") -> torch.dtype:
    """The number format that is meant: "auto" is `on_cuda` there, else float32. Raises ValueError for another.

    on_cuda: "float16", or "bfloat16" for a model that float16 is too narrow for; a device without it gets float16.
    """
    if dtype == "auto" and device.type != "cuda":
        return torch.float32
    if dtype == "auto":
        if on_cuda == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            logger.warning(
                "auto: the device has no bfloat16, and float16 may overflow; use float32 if answers are nonsense"
            )
            return torch.float16
        return DTYPES[on_cuda]
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise ValueError(f"dtype is {shown(dtype)}; use auto, {', '.join(DTYPES)}.")
    return chosen


def attention_options(attention: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is told about the decoder's attention; for "auto" nothing, which means sdpa.

    Only the decoder is told: not every vision tower knows every backend (LLaVA-HR's ConvNeXt has no attention at all).
    Raises ValueError for a backend that is not known, not installed, or cannot work on this device or in this format.
    """
    if attention not in ATTENTION_KERNELS:
        raise ValueError(f"attn_implementation is {shown(attention)}; use {', '.join(ATTENTION_KERNELS)}.")
    if attention == "auto":
        return {}
    if attention == FLASH_ATTENTION:
        packages = {"flash-attn": is_flash_attn_2_available}
        if missing := _missing(device, packages):
            raise ValueError(f"{FLASH_ATTENTION} needs {missing}; use sdpa or eager.")
        if dtype == torch.float32:
            raise ValueError(f"{FLASH_ATTENTION} knows no float32; use dtype float16 or bfloat16, or sdpa.")
    return {"attn_implementation": {"text_config": attention}}


def quantization_options(quantization: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is told about quantised weights; nothing for "none".

    4 bits are NF4 with quantised constants (arXiv 2305.14314), multiplied in `dtype`; 8 bits are LLM.int8()
    (arXiv 2208.07339). The weights are placed on `device` while they are read: bitsandbytes' cannot be moved later.
    Raises ValueError where bitsandbytes, accelerate or CUDA is missing.
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization is {shown(quantization)}; use {', '.join(QUANTIZATIONS)}.")
    if quantization == "none":
        return {}
    packages = {"bitsandbytes": is_bitsandbytes_available, "accelerate": is_accelerate_available}
    if missing := _missing(device, packages):
        raise ValueError(f"{quantization} weights need {missing}; leave quantization at none.")
    if quantization == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=NOT_QUANTIZED)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=NOT_QUANTIZED,
        )
    return {"quantization_config": config, "device_map": {"": device.index or 0}}


def placement(device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told about the place of weights: straight onto `device`, without main memory between.

    accelerate does that. Without it, and for the CPU, nothing is told, and the caller moves the model.
    """
    return {"device_map": {"": device}} if device.type != "cpu" and is_accelerate_available() else {}


def _missing(device: torch.device, packages: dict[str, Callable[[], bool]]) -> str:
    """What is not here of a CUDA device and some packages, in words; empty where all is."""
    missing = [] if device.type == "cuda" else [f"a CUDA device instead of {device}"]
    missing += [
        f"the package {name}, not installed here" for name, is_available in packages.items() if not is_available()
    ]
    return " and ".join(missing)


def describe_device(model: PreTrainedModel) -> str:
    """Where a model runs, for people: "CPU · float32 · 2 threads" or "NVIDIA A100 · float16 · 4bit"."""
    parts = [str(model.device), str(model.dtype).removeprefix("torch.")]
    if model.device.type == "cpu":
        threads = torch.get_num_threads()
        parts = ["CPU", parts[1], f"{threads} thread{'s' if threads > 1 else ''}"]
    elif model.device.type == "cuda":
        parts[0] = torch.cuda.get_device_name(model.device)
    parts += [bits for bits in QUANTIZATIONS if getattr(model, f"is_loaded_in_{bits}", False)]
    attention = model.config.text_config._attn_implementation
    return " · ".join(parts if attention in ("sdpa", None) else [*parts, attention])
