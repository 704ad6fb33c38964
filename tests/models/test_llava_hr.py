import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from fitprune_core.cost.request import request_flops
from fitprune_core.models import llava_hr
from fitprune_core.models.llava_hr.configuration import LlavaHrVisionConfig, vision_config_of
from fitprune_core.models.llava_hr.keys import renamed
from tests.flop_counting import counted_flops
from tests.official_hr import CASES, OFFICIAL, formula_pixels, largest_difference, tower_sizes, tower_weights


def official_llava(side: int) -> LlavaForConditionalGeneration:
    """A stock LLaVA whose tower and projector have the authors' sizes and weights, through the converter's names."""
    llava_hr.register()
    vision = vision_config_of({"input_image_size": side}, tower_sizes())
    width = OFFICIAL["config"]["llm_hidden_size"]
    text = LlamaConfig(hidden_size=width, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4, vocab_size=8)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_token_index=7,
    )
    model = LlavaForConditionalGeneration(config).eval()
    weights = {renamed(name): weight for name, weight in tower_weights().items() if renamed(name)}
    left = model.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    assert all("language_model" in name or name == "lm_head.weight" for name in left.missing_keys)
    return model


class TestTower:
    @pytest.mark.slow
    @pytest.mark.parametrize("side", sorted(CASES))
    @torch.no_grad()
    def test_outputs_are_the_authors(self, side):
        model, case = official_llava(side), CASES[side]
        tower = model.model.vision_tower(formula_pixels(side)).last_hidden_state
        assert largest_difference(tower[0], case["tower_output"]) < 1e-4
        features = model.get_image_features(formula_pixels(side)).pooler_output
        assert largest_difference(features[0], case["projector_output"]) < 1e-4
        vision = model.config.vision_config
        assert (side // vision.patch_size) ** 2 == case["vision_tokens"]

    @pytest.mark.slow
    def test_published_towers(self):
        names = {"mm_vision_tower": "openai/clip-vit-large-patch14-336", "input_image_size": 1024}
        parameters, epsilons = [], []
        for convnext in ("convnext_large_mlp.clip_laion2b_ft_320", "convnext_xxlarge.clip_laion2b_soup"):
            config = vision_config_of({**names, "vision_tower_slow": convnext})
            assert (config.grid, config.patch_size, config.hidden_size) == (32, 32, 1024)
            with torch.device("meta"):
                tower = llava_hr.LlavaHrVisionModel(config)
            parameters.append(round(sum(weight.numel() for weight in tower.parameters()) / 1e6, 1))
            epsilons.append({module.eps for name, module in tower.named_modules()
                             if isinstance(module, nn.LayerNorm) and name.startswith("slow_")})  # fmt: skip
        assert parameters == [520.6, 1195.3]
        assert epsilons == [{1e-6}, {1e-5}]

    @pytest.mark.parametrize(("side", "grid"), [(384, 24), (768, 24), (1024, 32), (1536, 48)])
    def test_grid_follows_the_picture(self, side, grid):
        assert LlavaHrVisionConfig(clip_config=tower_sizes()["clip"], image_size=side).grid == grid

    @pytest.mark.parametrize(("change", "message"), [({"image_size": 1000}, "1000"), ({"image_size": 512}, "512")])
    def test_sizes_that_do_not_fit_are_refused(self, change, message):
        with pytest.raises(ValueError, match=message):
            LlavaHrVisionConfig(clip_config=tower_sizes()["clip"], **change)

    def test_layers_that_do_not_divide_are_refused(self):
        with pytest.raises(ValueError, match="7 layers"):
            LlavaHrVisionConfig(clip_config={**tower_sizes()["clip"], "num_hidden_layers": 7})

    def test_another_picture_size_is_refused(self):
        with pytest.raises(ValueError, match="384 x 384"):
            official_llava(384).model.vision_tower(torch.zeros(1, 3, 336, 336))

    def test_attention_backend_reaches_the_layers(self):
        tower = official_llava(384).model.vision_tower
        assert tower.config.clip_config._attn_implementation == "sdpa"

    @pytest.mark.parametrize("side", [384, 768])
    @pytest.mark.slow
    def test_flops_are_those_that_torch_counts(self, side):
        model, pixels = official_llava(side), torch.zeros(1, 3, side, side)
        cost = request_flops(model.config, [0], model.config.vision_config.grid**2, 10, 5, 1)
        assert cost.vision_tower == counted_flops(lambda: model.model.vision_tower(pixels))
        assert cost.vision_tower + cost.projector == counted_flops(lambda: model.get_image_features(pixels))
