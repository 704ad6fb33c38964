from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

from fitprune_core.cost.decoder import (
    DecoderGeometry,
    layer_visual_flops,
    tokens_per_layer,
    visual_flops,
    visual_reduction,
)
from fitprune_core.cost.request import request_flops
from fitprune_core.models.prompts import build_inputs
from tests.flop_counting import counted_flops
from tests.marks import slow
from tests.tiny import random_picture, tiny_llava

PUBLISHED = json.loads((Path(__file__).parent.parent / "data" / "published_recipes.json").read_text())
LLAVA_7B = DecoderGeometry(32, 4096, 11008, 4096, 4096, 32064)
SMALL = DecoderGeometry(num_layers=3, hidden_size=8, intermediate_size=20, query_width=8, kv_width=4, vocab_size=50)


def published():
    for family, entry in PUBLISHED["models"].items():
        for percent, recipe in entry["recipes"].items():
            yield pytest.param(entry["visual_tokens"], recipe, id=f"{family}-{percent}")


@pytest.mark.parametrize(("num_visual_tokens", "recipe"), list(published()))
def test_published_recipes_save_what_was_counted(num_visual_tokens, recipe):
    saved = visual_reduction(LLAVA_7B, recipe["removed"], num_visual_tokens)
    assert saved == pytest.approx(recipe["counted_reduction"], abs=5.1e-5)
    assert tokens_per_layer(recipe["removed"], num_visual_tokens)[-1] == recipe["left"]


def test_figures_that_papers_quote_for_llava_7b():
    sixty = PUBLISHED["models"]["llava-1.5-7b"]["recipes"]["60"]["removed"]
    # 3.82 T multiply-adds on 576 visual tokens; the authors' script counts exactly this number.
    assert visual_flops(LLAVA_7B, [0] * 32, 576) == 2 * 3817152184320

    def prefill(removed):
        cost = request_flops(
            SimpleNamespace(text_config=llava_7b_text(), vision_config=clip_large()), removed, 576, 100, 60, 1
        )
        return (cost.prefill - 2 * 4096 * 32064) / 1e12

    assert prefill([0] * 32) == pytest.approx(9.00, abs=0.005)
    assert prefill(sixty) == pytest.approx(4.40, abs=0.005)


def test_cost_of_a_small_decoder_written_out():
    # Layer 0: 10 tokens arrive, 6 leave; layer 1: 6 and 6; layer 2: 6 and 1. q is 8 wide, k and v 4 each.
    def before(n):
        return n * 8 * 8 + 2 * n * 8 * 4 + n * n * 8 + n * n * 8

    def after(n):
        return n * 8 * 8 + 3 * n * 8 * 20

    expected = [2 * (before(10) + after(6)), 2 * (before(6) + after(6)), 2 * (before(6) + after(1))]
    assert layer_visual_flops(SMALL, [4, 0, 5], 10) == expected
    assert visual_flops(SMALL, [4, 0, 5], 10) == sum(expected)
    full = 2 * 3 * (before(10) + after(10))
    assert visual_reduction(SMALL, [4, 0, 5], 10) == 1 - sum(expected) / full


def test_no_removal_saves_exactly_nothing_and_more_saves_more():
    assert visual_reduction(LLAVA_7B, [0] * 32, 576) == 0.0
    savings = [visual_reduction(LLAVA_7B, [k] + [0] * 31, 576) for k in range(0, 577, 64)]
    assert savings == sorted(set(savings))
    earlier = [visual_reduction(LLAVA_7B, [0] * layer + [100] + [0] * (31 - layer), 576) for layer in range(32)]
    assert earlier == sorted(set(earlier), reverse=True)
    assert 0.95 < visual_reduction(LLAVA_7B, [576] + [0] * 31, 576) < 1.0


@pytest.mark.parametrize("scale", [1, 3, 50])
def test_arithmetic_is_exact_at_any_size(scale):
    wide = DecoderGeometry(80, 8192 * scale, 28672 * scale, 8192 * scale, 1024 * scale, 128000)
    assert isinstance(visual_flops(wide, [0] * 80, 100_000), int)
    assert visual_reduction(wide, [1] + [0] * 79, 100_000) > 0.0


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ([1, 2], "2 entries.*3 layers"),
        ([1, -2, 0], r"removed\[1\] is -2"),
        ([1, 0.5, 0], r"removed\[1\] is 0.5"),
        ([True, 0, 0], r"removed\[0\] is True"),
        (["3", 0, 0], r"removed\[0\] is '3'"),
        ([4, 4, 4], "adds up to 12 visual tokens, but there are only 10"),
    ],
)
def test_counts_that_cannot_be_are_named(removed, message):
    with pytest.raises(ValueError, match=message):
        visual_reduction(SMALL, removed, 10)


@pytest.mark.parametrize("tokens", [-1, 2.5, None, True])
def test_a_number_of_visual_tokens_that_cannot_be_is_named(tokens):
    with pytest.raises(ValueError, match="visual tokens"):
        visual_reduction(SMALL, [0, 0, 0], tokens)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 visual tokens"):
        visual_reduction(SMALL, [0, 0, 0], 0)


def test_numpy_counts_are_whole_numbers():
    removed = np.array([4, 0, 5])
    assert visual_reduction(SMALL, removed, np.int64(10)) == visual_reduction(SMALL, [4, 0, 5], 10)


class TestGeometry:
    def test_text_and_composite_configurations_agree(self):
        text = LlamaConfig(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=3)
        composite = LlavaConfig(text_config=text, vision_config=CLIPVisionConfig())
        geometry = DecoderGeometry.from_config(composite)
        assert geometry == DecoderGeometry.from_config(text) == DecoderGeometry.from_config(geometry)
        assert (geometry.query_width, geometry.kv_width) == (64, 32)

    def test_head_size_that_is_not_hidden_size_over_heads(self):
        text = MistralConfig(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=32)
        geometry = DecoderGeometry.from_config(text)
        assert (geometry.query_width, geometry.kv_width) == (128, 64)

    def test_missing_field_is_named(self):
        with pytest.raises(ValueError, match="no intermediate_size"):
            DecoderGeometry.from_config(SimpleNamespace(num_attention_heads=2, hidden_size=8, num_hidden_layers=1))

    @pytest.mark.parametrize("value", [0, -4, 2.0, None])
    def test_impossible_size_is_named(self, value):
        with pytest.raises(ValueError, match="hidden_size"):
            DecoderGeometry(3, value, 20, 8, 4, 50)


def llava_7b_text():
    return LlamaConfig(vocab_size=32064)


def clip_large():
    return CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        image_size=336,
        patch_size=14,
        num_attention_heads=16,
    )


def small_llava(vision=None, text=None, strategy="default", feature_layer=-2):
    common = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = vision or CLIPVisionConfig(**common, image_size=24, patch_size=4)
    text = text or LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=300,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=299,
        vision_feature_select_strategy=strategy,
        vision_feature_layer=feature_layer,
    )
    return LlavaForConditionalGeneration(config).eval()


def prompt_for(model, text_after=5):
    vision = model.config.vision_config
    tokens = (vision.image_size // vision.patch_size) ** 2
    tokens += model.config.vision_feature_select_strategy == "full" and vision.model_type == "clip_vision_model"
    ids = torch.tensor([[1, 5, 6] + [299] * tokens + list(range(7, 7 + text_after))])
    return {"input_ids": ids, "pixel_values": torch.randn(1, 3, vision.image_size, vision.image_size)}, tokens


SIGLIP = SiglipVisionConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=4
)
QWEN2 = Qwen2Config(
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=300,
)


@pytest.mark.parametrize(
    "options",
    [{}, {"strategy": "full"}, {"feature_layer": [-2, -1]}, {"vision": SIGLIP, "strategy": "full"}, {"text": QWEN2}],
    ids=["clip", "class-token-kept", "two-feature-layers", "siglip", "qwen2"],
)
@pytest.mark.parametrize("new_tokens", [*slow(1), 5])
def test_request_equals_what_torch_counts(options, new_tokens):
    model = small_llava(**options)
    inputs, tokens = prompt_for(model)
    expected = request_flops(model.config, [0] * model.config.text_config.num_hidden_layers, tokens, 8, 5, new_tokens)
    counted = counted_flops(
        lambda: model.generate(**inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False)
    )
    assert counted == expected.total


@pytest.mark.slow
@pytest.mark.parametrize("size", [(48, 36), (24, 24), (30, 90)])
def test_tiles_of_llava_next_are_counted(size):
    model, processor = tiny_llava(family="llava_next")
    inputs = build_inputs(processor, random_picture(*size), "What is this?")
    is_visual = inputs["input_ids"][0] == model.config.image_token_id
    visual, after = int(is_visual.sum()), len(is_visual) - 1 - int(is_visual.nonzero()[-1])
    tiles = inputs["pixel_values"].shape[1]
    expected = request_flops(model.config, [0] * 4, visual, len(is_visual) - visual, after, 3, num_tiles=tiles)
    generate = partial(model.generate, **inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert counted_flops(generate) == expected.total


def test_a_prompt_without_a_picture_runs_no_tower():
    model = small_llava()
    expected = request_flops(model.config, [0, 0, 0], 0, 8, 8, 1)
    assert (expected.vision_tower, expected.projector, expected.scoring) == (0, 0, 0)
    ids = torch.arange(1, 9)[None]
    assert counted_flops(lambda: model(input_ids=ids, logits_to_keep=1)) == expected.total


def test_eager_attention_costs_the_same_matrix_products():
    model = small_llava()
    inputs, tokens = prompt_for(model)
    model.set_attn_implementation("eager")
    counted = counted_flops(lambda: model(**inputs, logits_to_keep=1))
    assert counted == request_flops(model.config, [0, 0, 0], tokens, 8, 5, 1).total


class TestRequestParts:
    config = SimpleNamespace(text_config=llava_7b_text(), vision_config=clip_large())
    removed = [100, 0, 50] + [0] * 29

    def test_scores_cost_only_where_something_is_dropped(self):
        none = request_flops(self.config, [0] * 32, 576, 60, 40, 1)
        assert none.scoring == 0
        cost = {
            kind: request_flops(self.config, self.removed, 576, 60, 40, 1, scores=kind).scoring
            for kind in ("both", "self", "cross", "last", "none")
        }
        # Blocks of 32 query rows, from row 20 on, each times the keys up to its own last row.
        pairs_of_all = 32 * sum(20 + 32 * block for block in range(1, 19))
        pairs_of_the_rest = 32 * sum(20 + 32 * block for block in range(1, 15)) + 28 * (20 + 476)
        assert cost["self"] == 2 * (pairs_of_all + pairs_of_the_rest) * 4096
        assert cost["last"] == 2 * (636 + 536) * 4096
        pairs_of_both = 32 * sum(20 + 32 * block for block in range(1, 20)) + 8 * 636
        pairs_of_both += 32 * sum(20 + 32 * block for block in range(1, 17)) + 4 * 536
        assert cost["both"] == 2 * pairs_of_both * 4096
        assert cost["none"] == 0

    def test_a_known_normaliser_spares_the_columns_of_text(self):
        cost = request_flops(self.config, [100] + [0] * 31, 576, 60, 40, 1, normaliser_known=True).scoring
        pairs_of_visual_rows = 32 * sum(32 * block for block in range(1, 19))
        assert cost == 2 * (pairs_of_visual_rows + 40 * 576) * 4096

    def test_narrow_layers_are_scored_in_one_block(self):
        model = small_llava()
        cost = request_flops(model.config, [10, 0, 0], 36, 30, 20, 1)
        assert cost.scoring == 2 * (36 + 20) * (36 + 30) * DecoderGeometry.from_config(model.config).query_width

    def test_dropped_tokens_are_cheaper_to_decode_with(self):
        full = request_flops(self.config, [0] * 32, 576, 60, 40, 10)
        pruned = request_flops(self.config, self.removed, 576, 60, 40, 10)
        # Layer 0 caches all that arrived, layers 1 and 2 hold 100 fewer keys, the 29 after them 150 fewer; 9 steps.
        assert full.decode - pruned.decode == 9 * (2 * 100 + 29 * 150) * 2 * 2 * 4096

    def test_tiles_multiply_tower_and_projector(self):
        one = request_flops(self.config, [0] * 32, 576, 60, 40, 1)
        five = request_flops(self.config, [0] * 32, 576, 60, 40, 1, num_tiles=5)
        assert five.vision_tower == 5 * one.vision_tower
        assert five.projector == 5 * one.projector
        assert five.prefill == one.prefill

    def test_total_is_the_sum_of_the_parts(self):
        cost = request_flops(self.config, self.removed, 576, 60, 40, 10)
        assert cost.total == cost.vision_tower + cost.projector + cost.prefill + cost.scoring + cost.decode

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_text_tokens": -1}, "num_text_tokens"),
            ({"num_text_after": 61}, "61, more than all 60"),
            ({"num_text_between": 21}, "num_text_between is 21, more than the 20"),
            ({"new_tokens": 1.5}, "new_tokens"),
            ({"scores": "sideways"}, "sideways"),
        ],
    )
    def test_impossible_requests_are_named(self, arguments, message):
        usual = {"num_visual_tokens": 576, "num_text_tokens": 60, "num_text_after": 40, "new_tokens": 1}
        with pytest.raises(ValueError, match=message):
            request_flops(self.config, [0] * 32, **{**usual, **arguments})

    def test_unknown_vision_tower_is_refused_not_guessed(self):
        config = SimpleNamespace(text_config=llava_7b_text(), vision_config=SimpleNamespace(model_type="newcomer"))
        with pytest.raises(ValueError, match="newcomer"):
            request_flops(config, [0] * 32, 576, 60, 40, 1)
