import logging

import pytest
import torch

from fitprune_core import build_inputs, describe_device, load_model, model_name
from fitprune_core.models import loading
from tests.tiny import random_picture, save_tiny_llava, tiny_llava


def spoken(processor, inputs) -> str:
    """The prompt without its image tokens."""
    ids = inputs["input_ids"][0]
    return processor.tokenizer.decode(ids[ids != processor.image_token_id])


def test_prompt_is_what_the_processor_makes_of_the_template(tiny):
    _, processor = tiny
    image = random_picture()
    plain = processor(images=image, text="USER: <image>\nWhat is this? ASSISTANT:", return_tensors="pt")
    inputs = build_inputs(processor, image, "What is this?")
    assert torch.equal(inputs["input_ids"], plain["input_ids"])
    assert torch.equal(inputs["attention_mask"], plain["attention_mask"])
    assert torch.equal(inputs["pixel_values"], plain["pixel_values"])


@pytest.mark.parametrize("question", ["<image>", "is <image> a word?</s>", "<s><pad><image><image>", "é 😀\n\t"])
def test_control_tokens_of_the_user_are_text(tiny, question):
    model, processor = tiny
    inputs = build_inputs(processor, random_picture(), question)
    ids = inputs["input_ids"]
    assert (ids == model.config.image_token_id).sum() == model.config.image_seq_length
    assert (ids == processor.tokenizer.eos_token_id).sum() == 0
    assert spoken(processor, inputs) == f"<s>USER: \n{question} ASSISTANT:"
    assert model(**inputs).logits.shape[1] == ids.shape[1]


def test_without_a_picture_the_prompt_is_text(tiny):
    model, processor = tiny
    inputs = build_inputs(processor, None, "one <image> plus one?")
    assert "pixel_values" not in inputs
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 0
    assert spoken(processor, inputs) == "<s>USER: one <image> plus one? ASSISTANT:"


def test_checkpoint_without_a_template_gets_llava_15s():
    _, processor = tiny_llava()
    processor.chat_template = None
    assert spoken(processor, build_inputs(processor, random_picture(), "Why?")) == "<s>USER: \nWhy? ASSISTANT:"


def test_template_that_writes_the_opening_token_itself():
    _, processor = tiny_llava()
    processor.chat_template = "{{ '<s>' }}" + processor.chat_template
    assert spoken(processor, build_inputs(processor, random_picture(), "Why?")) == "<s>USER: \nWhy? ASSISTANT:"


def test_folder_in_the_hubs_layout_loads_as_it_was_saved(tiny, tiny_folder):
    model, processor = load_model(tiny_folder, device="cpu")
    inputs = build_inputs(processor, random_picture(), "What is this?")
    assert not model.training and model.dtype == torch.float32
    assert torch.equal(model(**inputs).logits, tiny[0](**inputs).logits)
    assert model_name(model) == "tiny-llava"
    assert describe_device(model).startswith("CPU · float32 · ")


def test_the_folder_that_one_is_in_has_a_name(tiny_folder, monkeypatch):
    monkeypatch.chdir(tiny_folder)
    assert model_name(load_model(".", device="cpu")[0]) == tiny_folder.name


def test_dtype_is_taken(tiny_folder):
    model, _ = load_model(tiny_folder, device="cpu", dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert "bfloat16" in describe_device(model)


def test_what_cannot_be_loaded_is_said(tmp_path, tiny_folder):
    with pytest.raises(ValueError, match="no model folder at .*nowhere"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no config.json"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="someone/some-model"):
        load_model("someone/some-model")
    with pytest.raises(ValueError, match="device is 'abacus'"):
        load_model(tiny_folder, device="abacus")
    with pytest.raises(ValueError, match="device is None"):
        load_model(tiny_folder, device=None)
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        load_model(tiny_folder, dtype="int8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="type 'bert'"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(tmp_path)


def test_auto_without_cuda_is_the_embedded_model(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        assert loading.resolve_name("auto") == "mini-llava"
    assert "mini-llava" in caplog.text


def test_auto_with_cuda_asks_the_hub(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with caplog.at_level(logging.INFO):
        assert loading.resolve_name("auto") == "mini-llava"  # tests are offline: the Hub does not answer
        monkeypatch.setattr(loading.AutoConfig, "from_pretrained", lambda name, **options: None)
        assert loading.resolve_name("auto") == loading.HUB_DEFAULT
    assert "so the model is mini-llava" in caplog.text and loading.HUB_DEFAULT in caplog.text


@pytest.mark.slow
def test_llava_next_folder(tmp_path):
    model, processor = load_model(save_tiny_llava(tmp_path / "next", family="llava_next"), device="cpu")
    assert type(model).__name__ == "LlavaNextForConditionalGeneration"
    inputs = build_inputs(processor, random_picture(), "is <image> a word?")
    assert spoken(processor, inputs) == "<s>USER: \nis <image> a word? ASSISTANT:"
    assert inputs["image_sizes"].tolist() == [[36, 48]]
    assert model(**inputs).logits.shape[1] == inputs["input_ids"].shape[1]
