"""A small random LLaVA, whole in memory: stock transformers classes, seeded weights, a tokenizer that knows every text.

Its answers mean nothing. Everything else is real: the processor, the chat template, the vision tower, the decoder, and
attention that is far from flat, so that a wrong ranking of visual tokens shows.
"""

from __future__ import annotations

import copy
import math
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

# The chat template of llava-hf/llava-1.5-7b-hf, and prompts like those of llava-v1.6-mistral-7b-hf and of
# llava-interleave-qwen-0.5b-hf.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{% for message in messages %}{{ '[INST] ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"
    "{{ ' [/INST]' }}{% endfor %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
    "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {"vicuna": CHAT_TEMPLATE, "mistral": MISTRAL_TEMPLATE, "qwen": QWEN_TEMPLATE}
DECODERS = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}


def tiny_tokenizer(prompt: str = "vicuna") -> PreTrainedTokenizerFast:
    """One token a byte, and the family's special tokens; a prompt begins with <s>, but for Qwen, which has none."""
    is_qwen = prompt == "qwen"
    special = ["<|im_start|>", "<|im_end|>", "<pad>", "<image>"] if is_qwen else ["<s>", "</s>", "<pad>", "<image>"]
    pieces = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if not is_qwen:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=None if is_qwen else "<s>",
        eos_token=special[1],
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"} | ({"turn_token": "<|im_start|>"} if is_qwen else {}),
        padding_side="left",
    )


def pinpoints(side: int) -> list[list[int]]:
    """The canvases (height, width) of LLaVA-NeXT's tiles of `side` pixels."""
    return [[side * down, side * across] for down, across in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]


def tiny_processor(
    grid: int = 6, patch_size: int = 4, family: str = "llava", tower: str = "clip", prompt: str = "vicuna"
) -> LlavaProcessor | LlavaNextProcessor:
    side = grid * patch_size
    size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    if family == "llava_next":
        image_processor = LlavaNextImageProcessorPil(**size, image_grid_pinpoints=pinpoints(side))
    elif tower == "siglip":
        image_processor = SiglipImageProcessorPil(size={"height": side, "width": side})
    else:
        image_processor = CLIPImageProcessorPil(**size)
    return (LlavaNextProcessor if family == "llava_next" else LlavaProcessor)(
        image_processor=image_processor,
        tokenizer=tiny_tokenizer(prompt),
        patch_size=patch_size,
        vision_feature_select_strategy="default" if tower == "clip" else "full",
        num_additional_image_tokens=1 if tower == "clip" else 0,
        chat_template=TEMPLATES[prompt],
    )


def tiny_llava(
    *,
    family: str = "llava",
    decoder: str = "llama",
    num_layers: int = 4,
    grid: int = 6,
    hidden_size: int = 64,
    num_heads: int = 4,
    num_key_value_heads: int | None = None,
    attention: str = "sdpa",
    tower: str = "clip",
    prompt: str = "vicuna",
    seed: int = 0,
) -> tuple[LlavaForConditionalGeneration | LlavaNextForConditionalGeneration, LlavaProcessor | LlavaNextProcessor]:
    """A seeded LLaVA with `grid * grid` visual tokens a view, in float32 on the CPU, and its processor.

    family: "llava" or "llava_next". decoder: "llama", "mistral", "qwen2" or "qwen3". attention: the decoder's backend,
    "sdpa" or "eager". tower: "clip", whose class token is dropped, or "siglip", which has none. prompt: of "vicuna",
    "mistral" or "qwen".
    """
    made = _made(
        family, decoder, num_layers, grid, hidden_size, num_heads, num_key_value_heads, attention, tower, prompt, seed
    )
    return copy.deepcopy(made)


@cache  # to build one takes three times as long as to copy it
def _made(
    family: str,
    decoder: str,
    num_layers: int,
    grid: int,
    hidden_size: int,
    num_heads: int,
    num_key_value_heads: int | None,
    attention: str,
    tower: str,
    prompt: str,
    seed: int,
) -> tuple[LlavaForConditionalGeneration | LlavaNextForConditionalGeneration, LlavaProcessor | LlavaNextProcessor]:
    processor = tiny_processor(grid, family=family, tower=tower, prompt=prompt)
    side = grid * processor.patch_size
    text = _decoder_config(decoder, processor.tokenizer, num_layers, hidden_size, num_heads, num_key_value_heads)
    is_clip = tower == "clip"
    vision = (CLIPVisionConfig if is_clip else SiglipVisionConfig)(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=side,
        patch_size=processor.patch_size,
        **({} if is_clip else {"vision_use_head": False}),
    )
    options = {
        "vision_config": vision,
        "text_config": text,
        "image_token_index": processor.tokenizer.convert_tokens_to_ids("<image>"),
        "image_seq_length": grid * grid,
        "vision_feature_layer": -2 if is_clip else -1,
        "vision_feature_select_strategy": processor.vision_feature_select_strategy,
    }
    if family == "llava_next":
        config = LlavaNextConfig(**options, image_grid_pinpoints=pinpoints(side))
    else:
        config = LlavaConfig(**options)
    config._attn_implementation = {"text_config": attention}
    classes = {"llava": LlavaForConditionalGeneration, "llava_next": LlavaNextForConditionalGeneration}
    model = classes[family](config).float().eval()
    _scale_weights(model, seed)
    return model, processor


def _decoder_config(decoder, tokenizer, num_layers, hidden_size, num_heads, num_key_value_heads):
    extra = {} if decoder == "llama" else {"sliding_window": None}
    if decoder == "qwen3":
        extra["head_dim"] = hidden_size // num_heads
    return DECODERS[decoder](
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_key_value_heads or num_heads,
        vocab_size=len(tokenizer),
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **extra,
    )


def save_tiny_llava(path: str | Path, **options) -> Path:
    """Write a tiny LLaVA as a folder in the layout of the Hub, ready for `from_pretrained`; returns the folder."""
    model, processor = tiny_llava(**options)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return Path(path)


def random_picture(width: int = 48, height: int = 36, seed: int = 0) -> Image.Image:
    """An RGB picture of noise, so that no two patches look alike."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy(), "RGB")


def _scale_weights(model: LlavaForConditionalGeneration, seed: int) -> None:
    """Draw weights at the scale that keeps activations at one; queries and keys larger, for peaked attention."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                if name.endswith(("bias", "class_embedding", "image_newline")):
                    weight.normal_(0, 0.1, generator=generator)
                continue
            gain = 1.6 if ("q_proj" in name or "k_proj" in name) else 1.0
            fan_in = 1 if "embed" in name else weight[0].numel()
            weight.normal_(0, gain / math.sqrt(fan_in), generator=generator)
