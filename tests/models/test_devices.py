"""Device, attention backend and quantised weights: what transformers is told, and one sentence for what cannot be."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import BitsAndBytesConfig
from transformers.quantizers.quantizers_utils import should_convert_module

from fitprune_core import build_inputs, describe_device, load_model
from fitprune_core.models import devices, loading
from tests.families.every import CASES
from tests.families.qwen_vl import save_tiny_qwen
from tests.tiny import random_picture, tiny_llava


class Loaded(torch.nn.Module):
    """Stands in for a model on a GPU: it must stay where it is."""

    def to(self, *args, **kwargs):
        raise AssertionError("a quantised model cannot be moved")


@pytest.fixture
def gpu(monkeypatch):
    """A machine that says it has CUDA and every optional package; returns what `from_pretrained` is told."""
    told = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("is_bitsandbytes_available", "is_accelerate_available", "is_flash_attn_2_available"):
        monkeypatch.setattr(devices, name, lambda: True)

    def from_pretrained(source, **options):
        told.update(options)
        return Loaded(), {"missing_keys": set(), "mismatched_keys": set(), "unexpected_keys": set(), "error_msgs": []}

    monkeypatch.setattr(loading.AutoModelForImageTextToText, "from_pretrained", from_pretrained)
    return told


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_decoder_attends_as_asked(tiny, tiny_folder, attention):
    model, processor = load_model(tiny_folder, device="cpu", attn_implementation=attention)
    assert model.config.text_config._attn_implementation == attention
    assert model.config.vision_config._attn_implementation == "sdpa"
    assert ("eager" in describe_device(model)) == (attention == "eager")
    inputs = build_inputs(processor, random_picture(), "What?")
    assert (model(**inputs).logits - tiny[0](**inputs).logits).abs().max() < 1e-5


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@pytest.mark.slow
def test_llava_hr_takes_every_backend(tmp_path, attention):
    """Its ConvNeXt has no attention, so transformers refuses a backend for the whole model."""
    from fitprune_core.models.llava_hr.convert import convert
    from tests.official_hr import write_checkpoint

    write_checkpoint(tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "hr")
    model, _ = load_model(tmp_path / "hr", device="cpu", attn_implementation=attention)
    assert model.config.text_config._attn_implementation == attention.replace("auto", "sdpa")


def test_weights_are_read_straight_onto_a_device(tiny_folder, gpu):
    load_model(tiny_folder, device="cuda:1")  # `Loaded` refuses to be moved afterwards
    assert gpu["device_map"] == {"": torch.device("cuda:1")}


def test_without_accelerate_the_model_is_moved(tiny_folder, gpu, monkeypatch):
    moved = []
    monkeypatch.setattr(devices, "is_accelerate_available", lambda: False)
    monkeypatch.setattr(Loaded, "to", lambda self, device: moved.append(device) or self)
    load_model(tiny_folder, device="cuda")
    assert moved == [torch.device("cuda")] and "device_map" not in gpu


def test_on_the_cpu_nothing_is_placed(tiny_folder, gpu, monkeypatch):
    monkeypatch.setattr(Loaded, "to", lambda self, device: self)
    load_model(tiny_folder, device="cpu")
    assert "device_map" not in gpu


def test_a_device_map_places_every_weight(tiny_folder):
    """With transformers itself: the one device that this machine has besides its CPU holds shapes alone."""
    model, _ = load_model(tiny_folder, device="meta")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_flash_attention_is_asked_for_where_it_is(tiny_folder, gpu):
    load_model(tiny_folder, device="cuda", attn_implementation="flash_attention_2")
    assert gpu["attn_implementation"] == {"text_config": "flash_attention_2"}
    assert gpu["dtype"] == torch.float16 and "quantization_config" not in gpu


def test_a_family_that_overflows_float16_gets_bfloat16_where_there_is_any(
    tmp_path, tiny_folder, gpu, monkeypatch, caplog
):
    folder = save_tiny_qwen(tmp_path / "tiny-qwen", "qwen2_5_vl")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    chosen = []
    for source, dtype in [(folder, "auto"), (folder, "float16"), (tiny_folder, "auto")]:
        load_model(source, device="cuda", dtype=dtype)
        chosen.append(gpu["dtype"])
    assert chosen == [torch.bfloat16, torch.float16, torch.float16] and not caplog.records
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    load_model(folder, device="cuda")
    assert gpu["dtype"] == torch.float16
    assert "float16 may overflow; use float32" in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize(("quantization", "device", "index"), [("4bit", "cuda", 0), ("8bit", "cuda:1", 1)])
def test_quantised_weights_are_asked_for_and_stay_where_they_are_put(tiny_folder, gpu, quantization, device, index):
    model, _ = load_model(tiny_folder, device=device, dtype="bfloat16", quantization=quantization)
    config = gpu["quantization_config"]
    assert isinstance(model, Loaded) and not model.training
    assert isinstance(config, BitsAndBytesConfig)
    assert (config.load_in_4bit, config.load_in_8bit) == (quantization == "4bit", quantization == "8bit")
    if quantization == "4bit":
        assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)
        assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert gpu["device_map"] == {"": index} and gpu["dtype"] == torch.bfloat16


def test_only_the_layers_of_the_decoder_are_quantised(tiny, tiny_folder, gpu):
    load_model(tiny_folder, device="cuda", quantization="4bit")
    skipped = gpu["quantization_config"].llm_int8_skip_modules
    linear = [name for name, module in tiny[0].named_modules() if isinstance(module, torch.nn.Linear)]
    quantised = [name for name in linear if should_convert_module(name, skipped)]
    assert quantised == [name for name in linear if "language_model.layers" in name]
    assert len(quantised) == 4 * 7


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES[5:], ids=str)  # those before are LLaVA's
def test_so_it_is_in_every_family(tmp_path, case):
    case.write(tmp_path / "model")
    model, _ = load_model(tmp_path / "model", device="cpu")
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    quantised = [name for name in linear if should_convert_module(name, devices.NOT_QUANTIZED)]
    decoder = ("language_model.layers", "text_model.layers")
    assert quantised and quantised == [name for name in linear if any(part in name for part in decoder)]


@pytest.mark.parametrize(
    ("options", "absent", "words"),
    [
        ({"quantization": "4bit"}, "is_bitsandbytes_available", "4bit weights need the package bitsandbytes, not inst"),
        ({"quantization": "8bit"}, "is_accelerate_available", "8bit weights need the package accelerate"),
        ({"quantization": "4bit", "device": "cpu"}, None, "4bit weights need a CUDA device instead of cpu; leave"),
        ({"quantization": "3bit"}, None, "quantization is '3bit'; use none, 4bit, 8bit"),
        (
            {"attn_implementation": "flash_attention_2"},
            "is_flash_attn_2_available",
            "needs the package flash-attn, not",
        ),
        ({"attn_implementation": "flash_attention_2", "device": "cpu"}, None, "needs a CUDA device instead of cpu"),
        ({"attn_implementation": "flash_attention_2", "dtype": "float32"}, None, "knows no float32"),
        (
            {"attn_implementation": "flex"},
            None,
            "attn_implementation is 'flex'; use auto, sdpa, eager, flash_attention_2",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(tiny_folder, gpu, monkeypatch, options, absent, words):
    if absent:
        monkeypatch.setattr(devices, absent, lambda: False)
    with pytest.raises(ValueError, match=words) as raised:
        load_model(tiny_folder, **{"device": "cuda", **options})
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")
    assert gpu == {}


def test_on_this_machine_they_are_refused_without_reading_weights(tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(loading.AutoModelForImageTextToText, "from_pretrained", None)
    with pytest.raises(ValueError, match="flash_attention_2 needs a CUDA device instead of cpu"):
        load_model(tiny_folder, attn_implementation="flash_attention_2")
    with pytest.raises(ValueError, match="4bit weights need a CUDA device instead of cpu"):
        load_model(tiny_folder, quantization="4bit")


def test_bits_are_named():
    model, _ = tiny_llava()
    model.is_loaded_in_4bit = True
    assert describe_device(model).endswith("· 4bit")


def test_weights_that_do_not_fit_are_explained(tiny_folder, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 14.00 GiB")

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match="on the weights of .*tiny-llava.*fewer bits"):
        patch.setattr(loading.AutoModelForImageTextToText, "from_pretrained", full)
        load_model(tiny_folder, device="cpu")
    with caplog.at_level(logging.ERROR):
        assert load_model(tiny_folder, device="cpu")
    assert not caplog.records
