"""The guide's figures of published models for a processor, held against torch's counter and the models' names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from fitprune_core import visual_layout
from tests.flop_counting import counted_flops
from tests.small_models import ANSWER, MODELS, PICTURE, QUESTION, cost_of, table, text_between

GUIDE = (Path(__file__).resolve().parents[1] / "assets" / "guide" / "models.md").read_text(encoding="utf-8")
# Millions of parameters: SmolVLM's are in its name; SigLIP's 400 without its last layer and head, and Qwen1.5's 464.
PARAMETERS = {"llava-hf/llava-interleave-qwen-0.5b-hf": (840, 890), "HuggingFaceTB/SmolVLM-256M-Instruct": (256, 257)}


@pytest.mark.slow
def test_the_readme_says_what_is_computed():
    """Where this fails, put what `python -m tests.small_models` prints into assets/guide/models.md."""
    assert (
        re.search(r"<!-- small models -->\n(.*?)<!-- /small models -->", GUIDE, re.DOTALL)[1].strip() == table().strip()
    )


@pytest.fixture(params=MODELS)
def published(request):
    """(name, configuration, cost, the model without its weights)"""
    config, processor = MODELS[request.param]()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config).eval()
    return request.param, config, cost_of(config, processor), model


def test_it_has_as_many_parameters_as_its_name_says(published):
    name, _, cost, model = published
    least, most = PARAMETERS[name]
    assert least < sum(weight.numel() for weight in model.parameters()) / 1e6 < most
    assert cost.parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.slow
def test_the_tower_costs_what_torch_counts(published):
    _, config, cost, model = published
    tower = getattr(model.model, "vision_tower", None) or model.model.vision_model
    side = config.vision_config.image_size
    pixels = torch.zeros(cost.views, 3, side, side, device="meta")
    # Idefics3's tower looks for padding, which a tensor without values cannot answer: its parts, one after another.
    if hasattr(tower, "embeddings"):
        per_side = side // config.vision_config.patch_size
        rows = torch.zeros(cost.views, per_side**2, config.vision_config.hidden_size, device="meta")
        counted = counted_flops(lambda: (tower.embeddings.patch_embedding(pixels), tower.encoder(rows)))
    else:
        counted = counted_flops(lambda: tower(pixels))
    assert cost.flops.vision_tower == pytest.approx(counted, rel=0.005)


@pytest.mark.slow
def test_prefill_costs_what_torch_counts(published):
    name, config, cost, model = published
    decoder, width = model.get_decoder(), config.text_config.hidden_size
    length = cost.tokens + QUESTION + text_between(visual_layout(*MODELS[name](), PICTURE))
    hidden, last = torch.zeros(1, length, width, device="meta"), torch.zeros(1, 1, width, device="meta")
    positions = decoder.rotary_emb(hidden, torch.zeros(1, length, dtype=torch.long, device="meta"))

    def prefill():
        for layer in decoder.layers:
            layer(hidden, attention_mask=None, position_embeddings=positions)
        model.lm_head(last)

    assert cost.flops.prefill == pytest.approx(counted_flops(prefill), rel=0.005)
    # A row of the cache for every token but the last of the answer, which nothing reads.
    keys = config.text_config.num_key_value_heads * width // config.text_config.num_attention_heads
    assert cost.cache_bytes == 2 * 4 * len(decoder.layers) * keys * (length + ANSWER - 1)
