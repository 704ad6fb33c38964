"""VisionZip's dominant tokens, recomputed from whole attention maps of an eager vision tower that nobody looks into."""

from __future__ import annotations

import copy

import pytest
import torch

from fitprune_core import build_inputs, load_model, prune_visual_tokens
from fitprune_core.models.family import all_families, family_of
from fitprune_core.models.tower_attention import read_layer
from tests.families.internvl import save_tiny_internvl
from tests.families.llava_onevision import save_tiny_onevision
from tests.families.qwen_vl import save_tiny_qwen
from tests.pruned import batch_of, recipe_of, state_of
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

METHOD = "visionzip-dominant"
WORDS = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}


def tower_maps(model, pixels) -> torch.Tensor:
    """Attention of the layer that makes the features, (views, heads, rows, rows), by an eager tower of its own."""
    tower = copy.deepcopy(model.model.vision_tower)
    tower.set_attn_implementation("eager")
    return tower(pixels, output_attentions=True).attentions[model.config.vision_feature_layer]


def expected_scores(model, pixels) -> torch.Tensor:
    """(views, patches)."""
    maps = tower_maps(model, pixels)
    if model.config.vision_feature_select_strategy == "default":
        return maps[:, :, 0, 1:].mean(dim=1)
    return maps.mean(dim=(1, 2))


def best(scores: torch.Tensor, count: int) -> list[int]:
    return sorted(scores.topk(count).indices.tolist())


@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_those_stay_that_the_tower_looks_at(tower):
    model, processor = tiny_llava(tower=tower)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    with prune_visual_tokens(model, recipe_of(), method=METHOD) as trace:
        model(**inputs)
        before = trace.kept_before.tolist()
        model.generate(**inputs, **WORDS)
        assert trace.kept_before.tolist() == before
    scores = expected_scores(model, inputs["pixel_values"])[0]
    assert 0 < len(before) < 36 and before == best(scores, len(before))
    for kept, dropped in zip(trace.kept, trace.dropped, strict=True):
        assert not len(dropped) or scores[dropped].max() <= scores[kept].min()


@pytest.mark.parametrize("place", [1, 2, 3, -1, -2, -3])
def test_the_layer_is_the_one_whose_output_is_read(place):
    """Hidden states begin with the patches as they enter the first layer, so state 1 is layer 0's."""
    model, processor = tiny_llava()
    model.config.vision_feature_layer = place
    inputs = build_inputs(processor, random_picture(), "what is this?")
    assert read_layer(model.config) == (place - 1 if place > 0 else 3 + place)
    tower = copy.deepcopy(model.model.vision_tower)
    tower.set_attn_implementation("eager")
    output = tower(inputs["pixel_values"], output_attentions=True, output_hidden_states=True)
    read = output.hidden_states[place]
    layer = next(at for at in range(3) if torch.equal(output.hidden_states[at + 1], read))
    scores = output.attentions[layer][0, :, 0, 1:].mean(dim=0)
    with prune_visual_tokens(model, recipe_of(), method=METHOD) as trace:
        model(**inputs)
    assert trace.kept_before.tolist() == best(scores, trace.kept_before.numel())


def packed_scores(model, inputs) -> torch.Tensor:
    """Scores of a tiled picture's tokens: how the model packs one-hot patches says what each token is made of."""
    tiles = inputs["pixel_values"][0]
    scores = expected_scores(model, tiles)
    one_hot = torch.eye(scores.numel()).view(*scores.shape, -1)
    options = {"image_newline": torch.zeros(scores.numel())}
    if model.config.model_type == "llava_next":
        options["vision_feature_select_strategy"] = model.config.vision_feature_select_strategy
    else:
        options["vision_aspect_ratio"] = model.config.vision_aspect_ratio
    (parts,), _ = model.model.pack_image_features([one_hot], inputs["image_sizes"], **options)
    found, line = [], []
    for number, of_token in enumerate(parts):
        if of_token.any():
            found.append(float(of_token @ scores.flatten()))
            line = [] if number == scores.shape[1] else line
            line.append(found[-1])
        else:
            found.append(sum(line) / len(line))
            line = []
    return torch.tensor(found)


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    folder = save_tiny_onevision(tmp_path_factory.mktemp("visionzip") / "onevision")
    return {"llava_next": tiny_llava(family="llava_next"), "llava_onevision": load_model(folder, device="cpu")}


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision"])
@pytest.mark.parametrize("size", [(24, 24), (50, 30), (30, 90), (72, 72), (100, 31)])
def test_tiles_are_packed_as_their_features_are(tiled, family, size):
    """Lines are cut, newlines put in, and OneVision brings large grids down to fewer tokens."""
    model, processor = tiled[family]
    inputs = build_inputs(processor, random_picture(*size), "what is this?")
    count = int((inputs["input_ids"] == model.config.image_token_id).sum())
    layers = model.config.text_config.num_hidden_layers
    recipe = recipe_of((count // 3, *[0] * (layers - 2), count // 3), count)
    with prune_visual_tokens(model, recipe, method=METHOD) as trace:
        model(**inputs)
    scores = packed_scores(model, inputs)
    assert len(scores) == count
    stays, goes = scores[trace.kept_before], scores[trace.dropped_before]
    assert stays.numel() and goes.max() <= stays.min() + 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_each_prompt_has_its_own_ranking(attention):
    """In batches, for beams, one after another in one block; whatever ran in between."""
    model, processor = tiny_llava(attention=attention)
    batch, singles = batch_of(processor, ["what?", "what is in this picture?"])
    expected = [expected_scores(model, single["pixel_values"])[0] for single in singles]
    with prune_visual_tokens(model, recipe_of(), method=METHOD) as trace:
        model(**batch)
        together = trace.kept_before.tolist()
        count = len(together[0])
        assert together == [best(scores, count) for scores in expected] and together[0] != together[1]
        for single, scores in zip(singles, expected, strict=True):
            model.model.get_image_features(singles[0]["pixel_values"])
            model(**single)
            assert trace.kept_before.tolist() == best(scores, count)
        model.generate(**batch, **WORDS, num_beams=3)
        assert trace.kept_before.tolist() == [before for before in together for _ in range(3)]
        model.generate(**singles[1], **WORDS, use_cache=False)
        assert trace.kept_before.tolist() == together[1]


def test_half_precision_of_others_does_not_reach_the_scores():
    model, processor = tiny_llava()
    inputs = build_inputs(processor, random_picture(), "what?")
    with torch.autocast("cpu", dtype=torch.bfloat16), prune_visual_tokens(model, recipe_of(), method=METHOD) as trace:
        model(**inputs)
        seen = {}
        attention = model.model.vision_tower.encoder.layers[1].self_attn
        for name in ("q_proj", "k_proj"):
            getattr(attention, name).register_forward_hook(
                lambda module, args, output, name=name: seen.update({name: output.float()})
            )
        model(**inputs)
    query, key = (seen[name][0].unflatten(-1, (2, 16)).transpose(0, 1) for name in ("q_proj", "k_proj"))
    scores = torch.softmax(query[:, :1] @ key.transpose(1, 2) / 4, dim=-1).mean(dim=0)[0, 1:]
    assert trace.kept_before.tolist() == best(scores, trace.kept_before.numel())


def test_the_class_token_stays_where_the_model_reads_it():
    model, processor = tiny_llava()
    model.config.vision_feature_select_strategy = processor.vision_feature_select_strategy = "full"
    inputs = build_inputs(processor, random_picture(), "what?")
    with prune_visual_tokens(model, recipe_of((10, 0, 10, 5), 37), method=METHOD) as trace:
        model(**inputs)
    scores = tower_maps(model, inputs["pixel_values"])[0, :, 0].mean(dim=0)
    scores[0] = 2.0
    assert trace.kept_before.tolist() == best(scores, trace.kept_before.numel())


def test_the_model_is_left_as_it_was():
    model, processor = tiny_llava(family="llava_next")
    inputs = build_inputs(processor, random_picture(), "what?")
    plain, before = model(**inputs).logits, state_of(model)
    count = int((inputs["input_ids"] == model.config.image_token_id).sum())
    with prune_visual_tokens(model, recipe_of((count // 2, 0, 0, 0), count), method=METHOD):
        model(**inputs)
    with pytest.raises(KeyError), prune_visual_tokens(model, recipe_of(), method=METHOD):
        model(**inputs)
        raise KeyError
    assert state_of(model) == before and torch.equal(model(**inputs).logits, plain)


# ---- refusals


def test_other_families_say_why_not():
    words = {}
    for family in all_families():
        if family.model_types[0] in ("llava_next", "llava_onevision") or family.name == "LLaVA-1.5":
            continue
        with pytest.raises(ValueError, match="cannot be ranked by the vision tower's attention, since") as error:
            family.check_tower_attention(None)
        words[family.name] = str(error.value)
    assert len(words) >= 7 and all(name in sentence for name, sentence in words.items())


@pytest.mark.slow
@pytest.mark.parametrize("write", [save_tiny_internvl, lambda folder: save_tiny_qwen(folder, "qwen2_5_vl")])
def test_merged_patches_are_refused_at_once(tmp_path, write):
    model, _ = load_model(write(tmp_path / "model"), device="cpu")
    before, recipe = state_of(model), recipe_of((5, *[0] * (model.config.text_config.num_hidden_layers - 1)), 36)
    words = f"{family_of(model).name} makes one visual token of several patches"
    with pytest.raises(ValueError, match=words), prune_visual_tokens(model, recipe, method=METHOD):
        raise AssertionError("the block was entered")
    assert state_of(model) == before


@pytest.mark.parametrize("place", [[-2, -1], 0, -4])
def test_features_of_no_single_layer_are_refused(place):
    model, _ = tiny_llava()
    model.config.vision_feature_layer = place
    refused = pytest.raises(ValueError, match="vision_feature_layer is .*one layer of the vision tower")
    with refused, prune_visual_tokens(model, recipe_of(), method=METHOD):
        raise AssertionError("the block was entered")


def test_features_from_elsewhere_and_other_layers_are_refused(tiny, inputs):
    model, _ = tiny
    features = model.model.get_image_features(inputs["pixel_values"], return_dict=True)
    text = {name: value for name, value in inputs.items() if name != "pixel_values"}
    with prune_visual_tokens(model, recipe_of(), method=METHOD) as trace:
        for run in (model, model.model, model.generate):
            with pytest.raises(ValueError, match="give pixel_values"):
                run(**text, mm_encoder_outputs={"image": features})
            with pytest.raises(ValueError, match="vision_feature_layer is -1 in this call"):
                run(**inputs, vision_feature_layer=-1)
        model(**inputs, vision_feature_layer=-2)
    assert trace.kept_before.numel()
