"""Beginnings with a finished decoder: what it knows of language, of places and of choosing need not be learnt again.

Or with a part of it: its first layers, or all of them with noise, from which another decoder is learnt.
"""

from __future__ import annotations

import math

import torch

from app.demo_model.architecture import patch_features
from app.demo_model.lookups import END_LAYER
from app.demo_model.pictures_pool import drawn_pool
from app.demo_model.scenes import random_scene

SCENES = 200
_RIDGE = 1e-3  # of the mean square of a feature


@torch.no_grad()
def take_decoder(model, finished, seed: int) -> float:
    """Give `model` the decoder and the projector of `finished`, the projector's input turned to `model`'s tower.

    The projector's first layer is multiplied by the linear map that best turns the features of `model`'s tower into
    those of `finished`'s, by least squares over the patches of plain scenes. Returns the share of their variance that
    the map explains.
    """
    model.model.language_model.load_state_dict(finished.model.language_model.state_dict())
    projector = model.model.multi_modal_projector
    projector.load_state_dict(finished.model.multi_modal_projector.state_dict())
    own, wanted = [], []
    for number in range(SCENES):
        pixels = drawn_pool([random_scene(seed * 10_000_000 + number)]).batch(slice(None))
        own.append(patch_features(model.model.vision_tower, pixels)[0])
        wanted.append(finished.model.vision_tower(pixels).last_hidden_state[0, 1:])
    features, target = torch.cat(own).double(), torch.cat(wanted).double()
    center, shift = features.mean(0), target.mean(0)
    features, target = features - center, target - shift
    gram = features.mT @ features
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    turn = torch.linalg.solve(gram + ridge, features.mT @ target)
    first = projector.linear_1
    weight = first.weight.double()
    first.bias.copy_(first.bias.double() + weight @ (shift - center @ turn))
    first.weight.copy_(weight @ turn.mT)
    return 1 - ((features @ turn - target).square().sum() / target.square().sum()).item()


@torch.no_grad()
def draw_partly_anew(model, share: float, seed: int) -> None:
    """Mix noise into all matrices of the decoder: a second seed of it, sooner than from nothing (Ash & Adams, 2020).

    `share` of a matrix, as the root of a sum of squares has it, is drawn by `seed`, and the rest is as it was; no
    matrix becomes larger or smaller. Raises ValueError for a share that is none.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share to draw anew is {share:g}; it is larger than 0 and at most 1")
    generator = torch.Generator().manual_seed(seed)
    for weight in model.model.language_model.layers.parameters():
        if weight.ndim == 2:
            noise = torch.randn(weight.shape, generator=generator) * weight.std()
            weight.copy_(math.sqrt(1 - share**2) * weight + share * noise)


def keep_first_layers(model, count: int) -> None:
    """Leave `model` the first `count` layers of its decoder: a shallower model, to be trained further.

    Raises ValueError where the lessons ask a layer that would be gone, or where there are not so many.
    """
    layers = model.model.language_model.layers
    if not END_LAYER < count <= len(layers):
        raise ValueError(f"{count} layers; the lessons and this decoder allow {END_LAYER + 1} to {len(layers)}")
    del layers[count:]
    for config in (model.config.text_config, model.model.language_model.config):
        config.num_hidden_layers = count
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:count]
