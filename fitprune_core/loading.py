"""Load a LLaVA as plain transformers objects, and put a picture and a question into its own prompt format."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BatchFeature,
    PreTrainedModel,
    ProcessorMixin,
)

from fitprune_core import llava_hr

logger = logging.getLogger(__name__)

MINI_LLAVA = "mini-llava"
MINI_LLAVA_FOLDER = Path(__file__).resolve().parent.parent / "assets" / MINI_LLAVA
HUB_DEFAULT = "llava-hf/llava-1.5-7b-hf"
MODEL_TYPES = ("llava", "llava_next")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

# For a checkpoint that has no chat template of its own: the prompt of LLaVA-1.5.
LLAVA_TEMPLATE = (
    "{% for message in messages %}USER: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}ASSISTANT:"
)


def load_model(
    name_or_path: str | Path, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load a LLaVA and its processor, in evaluation mode.

    name_or_path: a folder, an id of the Hugging Face Hub, "mini-llava" (the embedded model), or "auto" (see
    `resolve_name`). device: "auto" is CUDA where there is one, else the CPU. dtype: "auto" is float16 on CUDA and
    float32 elsewhere.

    Raises ValueError, one sentence, for a folder or id that cannot be loaded, another kind of model, or a device or
    dtype that does not exist here.
    """
    name = resolve_name(name_or_path)
    device = _choose_device(device)
    dtype = _choose_dtype(dtype, device)
    source = _find_source(name)
    llava_hr.register()
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type not in MODEL_TYPES:
            raise ValueError(
                f"{name} is a model of type {config.model_type!r}; only {', '.join(MODEL_TYPES)} can be pruned."
            )
        processor = AutoProcessor.from_pretrained(source, backend="pil")
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype)
    except OSError as error:
        raise ValueError(f"The model {name!r} cannot be loaded: {_first_sentence(error)}") from error
    return model.to(device).eval(), processor


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
        AutoConfig.from_pretrained(HUB_DEFAULT)
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
    return Path(source).name if Path(source).is_dir() else source


def describe_device(model: PreTrainedModel) -> str:
    """Where a model runs, for people: "CPU · float32 · 2 threads" or "NVIDIA A100 · float16"."""
    dtype = str(model.dtype).removeprefix("torch.")
    if model.device.type == "cpu":
        threads = torch.get_num_threads()
        return f"CPU · {dtype} · {threads} thread{'s' if threads > 1 else ''}"
    if model.device.type == "cuda":
        return f"{torch.cuda.get_device_name(model.device)} · {dtype}"
    return f"{model.device} · {dtype}"


def build_inputs(processor: ProcessorMixin, image: Image.Image | None, question: str) -> BatchFeature:
    """One picture and one question as the model's own prompt, ready for `model(**inputs)` and `model.generate`.

    The processor's chat template decides the format. Whatever the question holds is text: an "<image>" or "</s>" typed
    by a user is spelt out, never the token of that name. Without a picture (None) the prompt is text only. Tensors are
    on the CPU: `inputs.to(model.device)` for another device.
    """
    content = [{"type": "text", "text": question}]
    if image is not None:
        content.insert(0, {"type": "image", "image": image})
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=None if processor.chat_template else LLAVA_TEMPLATE,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        sanitize_control_tokens=True,
        processor_kwargs={"add_special_tokens": False},
    )
    return _with_opening_tokens(inputs, processor.tokenizer)


def _with_opening_tokens(inputs: BatchFeature, tokenizer) -> BatchFeature:
    """Put what the tokenizer opens every text with (Llama: <s>) in front, unless the template has written it already.

    transformers refuses to let a tokenizer add them while it keeps control tokens in user text as text.
    """
    opening = torch.tensor([tokenizer.encode("")], dtype=torch.long)
    length = opening.shape[1]
    if length and not torch.equal(inputs["input_ids"][:, :length], opening):
        inputs["input_ids"] = torch.cat([opening, inputs["input_ids"]], dim=1)
        ones = torch.ones_like(opening)
        inputs["attention_mask"] = torch.cat([ones, inputs["attention_mask"]], dim=1)
    return inputs


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


def _choose_device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; use auto, cpu, or cuda.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but this machine has no CUDA device; use auto or cpu.")
    return chosen


def _choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    chosen = DTYPES.get(dtype, dtype)
    if chosen not in DTYPES.values():
        raise ValueError(f"dtype is {dtype!r}; use auto, {', '.join(DTYPES)}.")
    return chosen


def _first_sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".:")
