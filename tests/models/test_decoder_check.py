"""A decoder that computes anything beyond what is repeated here is refused by looking at it; the rest is exact."""

from __future__ import annotations

import gc
import threading
import weakref
from functools import partial, wraps

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    Ernie4_5Config,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GptOssConfig,
    GraniteConfig,
    Olmo2Config,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SiglipVisionConfig,
    SmolLM3Config,
)

from fitprune_core import build_inputs, prune_visual_tokens
from fitprune_core.models import decoder_check, turns
from fitprune_core.models.decoder import attend, decoder_layers
from fitprune_core.models.decoder_check import check_decoder
from fitprune_core.models.exclusive import exclusive_use
from tests.pruned import recipe_of, state_of
from tests.tiny import random_picture, tiny_llava

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 16,
    "num_key_value_heads": 2, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 512,
}  # fmt: skip


def llava_with(make, **options):
    """A tiny LLaVA whose decoder is of another kind, with weights large enough for peaked attention."""
    model, processor = tiny_llava()
    text = make(**{**SIZES, "vocab_size": len(processor.tokenizer), **options})
    decoder = AutoModel.from_config(text).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 3 / weight.shape[1] ** 0.5, generator=generator)
            elif name.endswith(("q_norm.weight", "k_norm.weight")):
                weight.uniform_(0.5, 2, generator=generator)
    model.model.language_model, model.config.text_config = decoder, decoder.config
    return model, processor


STRANGERS = {
    "gemma2": (Gemma2Config, {}, "holds post_feedforward_layernorm, pre_feedforward_layernorm"),
    "gemma3": (Gemma3TextConfig, {}, "holds post_feedforward_layernorm, pre_feedforward_layernorm"),
    "gpt_oss": (GptOssConfig, {"num_local_experts": 2, "num_experts_per_tok": 1}, "holds self_attn.sinks"),
    "granite": (GraniteConfig, {}, "holds residual_multiplier"),
    "olmo2": (Olmo2Config, {}, "has no input_layernorm"),
    "phi3": (Phi3Config, {}, "holds resid_attn_dropout"),
    "smollm3": (SmolLM3Config, {}, "holds self_attn.use_rope"),
    "experts": (Qwen3MoeConfig, {"num_experts": 2, "num_experts_per_tok": 1}, "has no mlp.down_proj"),
    "window": (Qwen2Config, {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "window of 8"),
    "both ways": (GemmaConfig, {"use_bidirectional_attention": True}, "is_causal is false"),
    "interleaved rotary": (Ernie4_5Config, {}, "a Ernie4_5DecoderLayer, computes something else than Llama's"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_not_repeated_is_refused(kind):
    make, options, words = STRANGERS[kind]
    model, _ = llava_with(make, **options)
    before = state_of(model)
    with pytest.raises(ValueError, match=words) as refusal, prune_visual_tokens(model, recipe_of((5, 0, 5))):
        pass
    assert "\n" not in str(refusal.value) and "layer" in str(refusal.value)
    assert state_of(model) == before


def test_paligemma_is_refused_as_a_family():
    """Its prompt attends to the picture both ways, which no part of a layer tells."""
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=24, patch_size=4
    )
    text = GemmaConfig(**SIZES, vocab_size=200)
    config = PaliGemmaConfig(vision_config=vision, text_config=text, projection_dim=64, image_token_index=199)
    with pytest.raises(ValueError, match="PaliGemmaForConditionalGeneration; it must be one of type llava"):
        check_decoder(PaliGemmaForConditionalGeneration(config))


ALIKE = {"qwen3": (Qwen3Config, {}), "gemma": (GemmaConfig, {}), "biases": (Qwen3Config, {"attention_bias": True})}


@pytest.mark.parametrize("kind", ALIKE)
def test_what_is_repeated_equals_the_layers_own(kind):
    """Llama's layer under other names and with normalised queries and keys: attention bit by bit."""
    make, options = ALIKE[kind]
    model, processor = llava_with(make, **options)
    check_decoder(model)
    hidden = torch.randn(2, 30, 64, generator=torch.Generator().manual_seed(3))
    rotary = model.get_decoder().rotary_emb(hidden, torch.arange(30)[None].expand(2, -1))
    for layer in decoder_layers(model):
        with torch.no_grad():
            own, _ = layer.self_attn(hidden, position_embeddings=rotary, attention_mask=None)
            heads, _, _ = attend(layer.self_attn, hidden, rotary, None, None)
            assert torch.equal(layer.self_attn.o_proj(heads), own)
    inputs = build_inputs(processor, random_picture(), "What?")
    with prune_visual_tokens(model, recipe_of((5, 0, 5))) as trace:
        assert torch.isfinite(model(**inputs).logits).all() and len(trace.kept[-1]) == 26


def test_a_norm_over_all_heads_at_once_is_refused():
    model, _ = llava_with(Qwen3Config)
    decoder_layers(model)[1].self_attn.q_norm = nn.RMSNorm(64)
    with pytest.raises(ValueError, match="layer 2 .* has a q_norm of width 64, and only one of the head's 16"):
        check_decoder(model)
    del decoder_layers(model)[1].self_attn.q_norm
    with pytest.raises(ValueError, match="layer 2 .* has k_norm alone"):
        check_decoder(model)


@pytest.mark.parametrize("part", ["layer", "self_attn", "mlp"])
def test_a_part_that_is_compiled_by_itself_is_refused_with_the_way_that_works(part):
    model, _ = tiny_llava()
    layers = decoder_layers(model)
    if part == "layer":
        layers[2] = torch.compile(layers[2], backend="eager")
    else:
        setattr(layers[2], part, torch.compile(getattr(layers[2], part), backend="eager"))
    words = rf"layer 3 .* compiled by itself, torch.compile\({part}\); .* in its place instead, {part}\.compile\(\)$"
    with pytest.raises(ValueError, match=words):
        check_decoder(model)
    model, _ = tiny_llava()
    for layer in decoder_layers(model):
        (layer if part == "layer" else getattr(layer, part)).compile(backend="eager")
    with prune_visual_tokens(model, recipe_of()):
        pass


def test_another_setting_is_refused_by_its_name():
    model, _ = tiny_llava()
    decoder_layers(model)[2].self_attn.attn_logit_softcapping = 50.0
    with pytest.raises(ValueError, match="layer 3 .* holds self_attn.attn_logit_softcapping"):
        check_decoder(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rounding_is_no_difference(dtype, attention):
    model, _ = tiny_llava(attention=attention, num_key_value_heads=2)
    check_decoder(model.to(dtype))


def silent(attention):
    """The forward of an attention that says nothing."""

    def forward(*args, own=attention.forward, **kwargs):
        output, weights = own(*args, **kwargs)
        return output * 0, weights

    return forward


def louder(layer):
    """The forward of a layer that says three times as much."""
    own = layer.forward
    return lambda *args, **kwargs: own(*args, **kwargs) * 3


@pytest.mark.parametrize("is_known", [False, True], ids=["new", "seen before"])
@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("part", ["attention", "layer"])
def test_a_forward_that_was_replaced_is_refused_on_whatever_layer_and_whenever(part, index, is_known):
    """It would be passed over where that layer drops."""
    model, _ = tiny_llava()
    if is_known:
        check_decoder(model)
    layer = decoder_layers(model)[index]
    if part == "attention":
        layer.self_attn.forward = silent(layer.self_attn)
    else:
        layer.forward = louder(layer)
    words = f"layer {index + 1} .* computes something else .* its forward was replaced, or its attention's: .* a hook"
    with pytest.raises(ValueError, match=words), prune_visual_tokens(model, recipe_of()):
        pass
    del (layer.self_attn if part == "attention" else layer).forward
    check_decoder(model)


def test_a_class_that_was_changed_after_the_first_block_is_refused():
    model, _ = tiny_llava()
    check_decoder(model)
    attention = decoder_layers(model)[2].self_attn

    class Silent(type(attention)):
        def forward(self, *args, **kwargs):
            output, weights = super().forward(*args, **kwargs)
            return output * 0, weights

    attention.__class__ = Silent
    with pytest.raises(ValueError, match="layer 3 .* computes something else than Llama's with the same parts .*\\)$"):
        check_decoder(model)


def test_one_forward_on_two_layers_is_tried_on_both():
    """That of layer 2 on layer 3 computes with the weights of layer 2."""
    model, _ = tiny_llava()
    layers = decoder_layers(model)
    layers[1].forward = forward = layers[1].forward
    check_decoder(model)
    layers[2].forward = forward
    with pytest.raises(ValueError, match="layer 3 .* computes something else"):
        check_decoder(model)


@pytest.mark.parametrize("way", ["wrapped", "accelerate", "compiled"])
def test_a_forward_that_computes_the_same_is_tried_once(way, monkeypatch):
    model, processor = tiny_llava()
    inputs = build_inputs(processor, random_picture(), "What?")
    with torch.no_grad(), prune_visual_tokens(model, recipe_of()):
        expected = model(**inputs).logits
    for module in (module for layer in decoder_layers(model) for module in (layer, layer.self_attn)):
        if way == "accelerate":
            hooks = pytest.importorskip("accelerate.hooks")
            hooks.add_hook_to_module(module, hooks.ModelHook())
        elif way == "compiled":
            module.forward = torch.compile(module.forward, backend="eager")
        else:
            module.forward = wraps(module.forward)(partial(module.forward))
    looks, look = [], decoder_check._probe
    monkeypatch.setattr(decoder_check, "_probe", lambda *args: looks.append(args) or look(*args))
    for _ in range(3):
        with torch.no_grad(), prune_visual_tokens(model, recipe_of()):
            assert torch.equal(model(**inputs).logits, expected)
    assert len(looks) == (0 if way == "compiled" else 1)


def test_what_is_remembered_of_a_forward_keeps_no_model_alive():
    model, _ = tiny_llava()
    decoder_layers(model)[2].forward = partial(type(decoder_layers(model)[2]).forward, decoder_layers(model)[2])
    decoder_layers(model)[1].self_attn.forward = lambda *args, own=model, **kwargs: type(
        own.get_decoder().layers[1].self_attn
    ).forward(own.get_decoder().layers[1].self_attn, *args, **kwargs)
    check_decoder(model)
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


def test_looking_leaves_no_trace_and_disturbs_nobody():
    """Whoever listens to the model's modules does not see the few rows that it is tried with."""
    model, _ = tiny_llava()
    seen = []
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: seen.append(module))
        module.register_forward_pre_hook(lambda module, args: seen.append(module))
    before, random = state_of(model), torch.get_rng_state()
    check_decoder(model)
    assert not seen and state_of(model) == before and torch.equal(torch.get_rng_state(), random)
    model(input_ids=torch.tensor([[5, 6, 7]]))
    assert seen


def test_a_model_in_use_is_not_looked_into_meanwhile(monkeypatch):
    """The hooks of the look would end the run of another thread, which holds the model."""
    model, _ = tiny_llava()
    looked, waiting = [], threading.Event()
    monkeypatch.setattr(decoder_check, "_probe", lambda model, kinds: looked.append(model))
    monkeypatch.setattr(
        turns._Turns, "take", lambda self, block, take=turns._Turns.take: waiting.set() or take(self, block)
    )
    with exclusive_use(model):
        waiting.clear()
        thread = threading.Thread(target=check_decoder, args=(model,))
        thread.start()
        assert waiting.wait(10) and not looked
        check_decoder(model)  # whoever holds it need not wait
        assert looked == [model]
    thread.join(10)
    assert not thread.is_alive()
