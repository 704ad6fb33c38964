"""A pruned LLaVA the slow way: no row is ever dropped, only hidden from the layers that it does not reach."""

from __future__ import annotations

from functools import partial

import torch


@torch.no_grad()
def reference_logits(model, input_ids, pixel_values, kept, attention_mask=None, **images) -> torch.Tensor:
    """Logits (batch, length, vocabulary) of a whole sequence, without a cache, by transformers' own layers.

    kept: for each layer the visual tokens that leave it, (count,) or (batch, count). Rows of visual tokens that were
    dropped hold meaningless logits. images: what else `get_image_features` wants.
    """
    llava, decoder = model.model, model.get_decoder()
    hidden = llava.get_input_embeddings()(input_ids)
    is_image = input_ids == model.config.image_token_id
    if pixel_values is not None:
        features = torch.cat(llava.get_image_features(pixel_values, return_dict=True, **images).pooler_output)
        hidden = hidden.masked_scatter(is_image[..., None], features)
    batch, length = input_ids.shape
    padding = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    positions = (padding.cumsum(1) - 1).clamp(min=0)
    embeddings = decoder.rotary_emb(hidden, positions)
    for index, layer in enumerate(decoder.layers):
        visible = padding.bool() & (~is_image | arrives(is_image, kept, index))
        mask = visible[:, None, None, :] & torch.ones(length, length, dtype=torch.bool).tril()
        mask = mask | torch.eye(length, dtype=torch.bool)  # a row that sees nothing would be NaN
        bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        hidden = layer(hidden, attention_mask=bias, position_embeddings=embeddings)
    return model.lm_head(decoder.norm(hidden))


def arrives(is_image, kept, index, kept_before=None) -> torch.Tensor:
    """Which rows are visual tokens that reach layer `index`, (batch, length) bool."""
    left = kept[index - 1] if index else kept_before
    if left is None:
        return is_image
    numbers = is_image.cumsum(1) - 1
    survivors = left.reshape(-1, left.shape[-1])
    return torch.stack(
        [row_is & torch.isin(row, alive) for row_is, row, alive in zip(is_image, numbers, survivors, strict=True)]
    )


@torch.no_grad()
def masked_logits(model, inputs, kept, new_ids=(), kept_before=None) -> torch.Tensor:
    """Logits (1, length, vocabulary) of one prompt and its answer so far, by a plain model that runs them in one piece.

    Every decoder layer gets a mask that hides the visual tokens which do not reach it; all else (positions, features
    that are added to layers' outputs) is the model's own doing. inputs: as `build_inputs` makes them; kept: for each
    layer the visual tokens that leave it, (count,); new_ids: the answer's tokens; kept_before: the visual tokens that
    reach the first layer, all where it is left out.
    """
    new = torch.tensor([list(new_ids)], dtype=torch.long)
    whole = {"attention_mask": 1, "mm_token_type_ids": 0}
    inputs = {**inputs, "input_ids": torch.cat([inputs["input_ids"], new], dim=1)}
    for name in whole.keys() & inputs.keys():
        inputs[name] = torch.cat([inputs[name], torch.full_like(new, whole[name]).to(inputs[name].dtype)], dim=1)
    is_image = inputs["input_ids"] == model.config.image_token_id
    length = is_image.shape[1]

    def hide(index, layer, args, kwargs):
        visible = ~is_image | arrives(is_image, kept, index, kept_before)
        mask = visible[:, None, None, :] & torch.ones(length, length, dtype=torch.bool).tril()
        mask = mask | torch.eye(length, dtype=torch.bool)
        kwargs["attention_mask"] = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        return args, kwargs

    hooks = [
        layer.register_forward_pre_hook(partial(hide, index), with_kwargs=True)
        for index, layer in enumerate(model.get_decoder().layers)
    ]
    try:
        return model(**inputs, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
