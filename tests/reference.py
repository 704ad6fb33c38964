"""A pruned LLaVA the slow way: no row is ever dropped, only hidden from the layers that it does not reach."""

from __future__ import annotations

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


def arrives(is_image, kept, index) -> torch.Tensor:
    """Which rows are visual tokens that reach layer `index`, (batch, length) bool."""
    if index == 0:
        return is_image
    numbers = is_image.cumsum(1) - 1
    survivors = kept[index - 1].reshape(-1, kept[index - 1].shape[-1])
    return torch.stack(
        [row_is & torch.isin(row, alive) for row_is, row, alive in zip(is_image, numbers, survivors, strict=True)]
    )
