"""A picture and a question in a model's own prompt format."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin

from fitprune_core.checks.words import shown
from fitprune_core.models.pictures import check_picture

_PARTS = "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}{% else %}"


_QWEN = (
    "{% for message in messages %}{{ '<|im_start|>user\n' }}"
    + _PARTS
    + "{{ part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
)

# For checkpoints that have no chat template of their own, by their decoder: the prompts of LLaVA-1.5 with Vicuna, of
# LLaVA-1.6 with Mistral, and of LLaVA-NeXT with Qwen.
TEMPLATES = {
    "llama": "{% for message in messages %}{{ 'USER: ' }}"
    + _PARTS
    + "{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}{{ 'ASSISTANT:' }}",
    "mistral": "{% for message in messages %}{{ '[INST] ' }}"
    + _PARTS
    + "{{ part['text'] }}{% endif %}{% endfor %}{{ ' [/INST]' }}{% endfor %}",
    "qwen2": _QWEN,
    "qwen3": _QWEN,
}


def build_inputs(processor: ProcessorMixin, image: Image.Image | None, question: str) -> BatchFeature:
    """One picture and one question as the model's own prompt, ready for `model(**inputs)` and `model.generate`.

    The processor's chat template decides the format. Whatever the question holds is text: an "<image>" or "</s>" typed
    by a user is spelt out, never the token of that name. Without a picture (None) the prompt is text only. Tensors are
    on the CPU: `inputs.to(model.device)` for another device. Raises ValueError for what is no picture, or several, and
    for a question that is no text.
    """
    if not isinstance(question, str):
        raise ValueError(f"the question must be a text, not {shown(question)}")
    content: list[dict[str, Any]] = [{"type": "text", "text": question}]
    if isinstance(image, list | tuple):
        raise ValueError(
            f"the picture must be one PIL image, not a {type(image).__name__} of {len(image)}; a prompt of several "
            "pictures is the processor's own: processor(images=..., text=...)"
        )
    if image is not None:
        check_picture(image)
        content.insert(0, {"type": "image", "image": image})
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=None if processor.chat_template else TEMPLATES["llama"],
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
        shape = inputs["input_ids"].shape
        for name, values in list(inputs.items()):
            # Whatever says something of each token (its kind, where it is padding) has to stay in line with the ids.
            if isinstance(values, torch.Tensor) and values.shape == shape:
                first = opening if name == "input_ids" else torch.full_like(opening, int(name == "attention_mask"))
                inputs[name] = torch.cat([first.to(values.dtype), values], dim=1)
    return inputs
