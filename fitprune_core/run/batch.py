"""Several prompts as one batch: which go together, and how they are padded."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from transformers import BatchFeature, PretrainedConfig, PreTrainedTokenizerBase

from fitprune_core.models.family import visual_mask


def kind_of(inputs: BatchFeature, model_config: PretrainedConfig) -> Hashable:
    """What prompts of one batch have in common: how many visual tokens, and the shape of their pictures.

    inputs: of one prompt, from `build_inputs`. Pictures of equal shape need no padding, so that none can show.
    """
    ids = inputs["input_ids"]
    shapes = [(name, tuple(values.shape[1:])) for name, values in sorted(inputs.items()) if values.shape != ids.shape]
    return int(visual_mask(model_config, ids).sum()), *shapes


def padded_together(prompts: Sequence[BatchFeature], tokenizer: PreTrainedTokenizerBase) -> BatchFeature:
    """Prompts of one kind (`kind_of`) as one batch, padded on the left; one prompt alone is left as it is.

    What has a value for each token is padded: ids by the padding token, where the tokenizer has none by the
    end-of-sequence token (nothing sees it), and the rest, as the attention mask, by 0. All
    else is of pictures, and joined.
    """
    if len(prompts) == 1:
        return prompts[0]
    longest = max(prompt["input_ids"].shape[1] for prompt in prompts)
    filler = next(token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if token is not None)
    together = {}
    for name, first in prompts[0].items():
        parts = [prompt[name] for prompt in prompts]
        if first.shape == prompts[0]["input_ids"].shape:
            value = filler if name == "input_ids" else 0
            parts = [torch.nn.functional.pad(part, (longest - part.shape[1], 0), value=value) for part in parts]
        together[name] = torch.cat(parts)
    return BatchFeature(together)
