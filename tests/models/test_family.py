"""The registry of families: which model is whose, and what a picture is to a vision tower."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import BatchFeature, CLIPVisionModel, LlamaForCausalLM

from fitprune_core.models.family import FAMILIES, Picture, all_families, family_of, picture_of
from fitprune_core.models.prompts import build_inputs
from tests.tiny import random_picture, tiny_llava


@pytest.mark.parametrize(("kind", "name"), [("llava", "LLaVA-1.5"), ("llava_next", "LLaVA-NeXT")])
def test_a_model_and_its_configuration_are_of_one_family(kind, name):
    model, _ = tiny_llava(family=kind)
    assert family_of(model) is family_of(model.config) and family_of(model).name == name


def test_families_that_share_a_type_tell_themselves_apart():
    vision = SimpleNamespace(model_type="llava_hr_vision")
    assert family_of(SimpleNamespace(model_type="llava", vision_config=vision)).name == "LLaVA-HR"


def test_every_family_is_listed_under_its_own_types():
    for family in all_families():
        places = [kind for kind, names in FAMILIES.items() if type(family).__name__ in {name for _, name in names}]
        assert sorted(places) == sorted(family.model_types)
    assert len({family.name for family in all_families()}) == len(all_families())


def test_strangers_are_refused_with_the_known_types():
    model, _ = tiny_llava()
    with pytest.raises(ValueError, match="type 'opt'; only .*llava_next"):
        family_of(SimpleNamespace(model_type="opt"))
    with pytest.raises(ValueError, match="the model is a Linear; it must be one of type llava"):
        family_of(torch.nn.Linear(2, 2))
    for part in (LlamaForCausalLM(model.config.text_config), CLIPVisionModel(model.config.vision_config)):
        with pytest.raises(ValueError, match=type(part).__name__):
            family_of(part)
    part = LlamaForCausalLM(model.config.text_config)
    part.config = model.config
    with pytest.raises(ValueError, match="is a LlamaForCausalLM; it must be LlavaForConditionalGeneration"):
        family_of(part)


def test_what_is_wrapped_around_a_model_is_refused_with_what_to_give_instead():
    model, _ = tiny_llava()

    class PeftModel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = model.config

        def get_base_model(self):
            return model

    words = (
        r"the model is a PeftModel; it must be LlavaFor\S+; give its `get_base_model\(\)`, and call the wrapper inside"
    )
    with pytest.raises(ValueError, match=words):
        family_of(PeftModel())
    with pytest.raises(ValueError, match=r"the model is a DataParallel; it must be .*; give its `\.module`$"):
        family_of(torch.nn.DataParallel(model))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (2 * [random_picture()], r"one PIL image, not a list of 2; .*: processor\(images=\.\.\., text=\.\.\.\)"),
        ((random_picture(),), "one PIL image, not a tuple of 1"),
        ("no/picture.png", "must be a PIL image, not str; open_picture reads a file"),
        (Path("picture.png"), "must be a PIL image, not PosixPath; open_picture reads a file"),
        (b"GIF89a", "must be a PIL image, not bytes$"),
        (torch.zeros(3, 8, 8), "must be a PIL image, not Tensor$"),
    ],
)
def test_a_prompt_is_of_one_picture_that_is_open(given, words):
    with pytest.raises(ValueError, match=f"^the picture must be .*{words.removeprefix('must be ')}"):
        build_inputs(tiny_llava()[1], given, "Why?")


def test_a_picture_is_what_decides_the_towers_work():
    _, one = tiny_llava()
    _, tiled = tiny_llava(family="llava_next")
    picture = random_picture(50, 30)
    assert picture_of(build_inputs(one, picture, "Why?")) == Picture(1, (24, 24))
    inputs = build_inputs(tiled, picture, "Why?")
    assert picture_of(inputs) == Picture(inputs["pixel_values"].shape[1], (24, 24), sizes=((30, 50),))
    assert picture_of(build_inputs(one, None, "Why?")) == Picture(0)
    patches = {"pixel_values": torch.zeros(24, 12), "image_grid_thw": torch.tensor([[1, 4, 6]])}
    assert picture_of(patches) == Picture(1, None, ((1, 4, 6),))


def test_a_token_in_front_moves_everything_that_is_said_of_tokens(monkeypatch):
    """Qwen-VL's processor says of each token whether it is a picture's; <s> in front must not shift that."""
    _, processor = tiny_llava()
    make = type(processor).apply_chat_template

    def with_kinds(self, *args, **kwargs) -> BatchFeature:
        inputs = make(self, *args, **kwargs)
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == processor.image_token_id).int()
        return inputs

    monkeypatch.setattr(type(processor), "apply_chat_template", with_kinds)
    inputs = build_inputs(processor, random_picture(), "Why?")
    assert inputs["input_ids"][0, 0] == processor.tokenizer.bos_token_id
    assert torch.equal(inputs["mm_token_type_ids"].bool(), inputs["input_ids"] == processor.image_token_id)
    assert inputs["attention_mask"].all() and inputs["mm_token_type_ids"].dtype == torch.int32
