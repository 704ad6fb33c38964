"""What pruning drops and what it leaves alone, each computed anew by other means than the library's."""

import gc
import weakref

import pytest
import torch

from fitprune_core import METHODS, build_inputs, prune_visual_tokens
from tests.pruned import DECODERS, REMOVED, recipe_of, state_of
from tests.reference import reference_logits
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")


# ---- what must not change


def test_empty_recipe_is_bit_equal(tiny, inputs):
    model, _ = tiny
    plain, words = model(**inputs), model.generate(**inputs, max_new_tokens=6)
    with prune_visual_tokens(model, recipe_of((0, 0, 0, 0))) as trace:
        assert torch.equal(model(**inputs).logits, plain.logits)
        assert torch.equal(model.generate(**inputs, max_new_tokens=6), words)
    assert [kept.tolist() for kept in trace.kept] == [list(range(36))] * 4
    assert [dropped.tolist() for dropped in trace.dropped] == [[]] * 4


def test_text_only_prompt_is_bit_equal(tiny):
    model, processor = tiny
    inputs = build_inputs(processor, None, "is <image> a word?")
    plain, words = model(**inputs).logits, model.generate(**inputs, max_new_tokens=6)
    with prune_visual_tokens(model, recipe_of()) as trace:
        assert torch.equal(model(**inputs).logits, plain)
        assert torch.equal(model.generate(**inputs, max_new_tokens=6), words)
    assert trace.num_visual_tokens == 0
    assert [kept.numel() for kept in trace.kept] == [0] * 4


def test_text_only_prompt_with_a_picture_beside_it_loses_nothing(tiny, inputs):
    model, processor = tiny
    text = build_inputs(processor, None, "what?")
    features = model.model.get_image_features(inputs["pixel_values"], return_dict=True)
    before = state_of(model)
    with prune_visual_tokens(model, recipe_of()), pytest.raises(ValueError, match="do not match"):
        model(**text, mm_encoder_outputs={"image": features})  # transformers itself refuses, as it does unpruned
    assert state_of(model) == before


def test_model_is_as_it_was_after_the_block(tiny, inputs):
    model, _ = tiny
    plain = model(**inputs).logits
    before = state_of(model)
    with prune_visual_tokens(model, recipe_of()):
        assert state_of(model) != before
        assert model(**inputs).logits.shape[1] < plain.shape[1]
    assert state_of(model) == before
    assert torch.equal(model(**inputs).logits, plain)


def test_model_is_as_it_was_after_an_exception(tiny, inputs):
    model, _ = tiny
    plain = model(**inputs).logits
    before = state_of(model)
    with pytest.raises(RuntimeError, match="stop"), prune_visual_tokens(model, recipe_of()):
        model.generate(**inputs, max_new_tokens=2)
        raise RuntimeError("stop")
    assert state_of(model) == before
    assert torch.equal(model(**inputs).logits, plain)


def test_model_is_as_it_was_after_an_exception_inside_a_layer(tiny, inputs):
    model, _ = tiny
    plain = model(**inputs).logits
    before = state_of(model)
    mlp = model.get_decoder().layers[2].mlp
    handle = mlp.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"), prune_visual_tokens(model, recipe_of()):
        model(**inputs)
    handle.remove()
    assert state_of(model) == before
    assert torch.equal(model(**inputs).logits, plain)
    with prune_visual_tokens(model, recipe_of()):
        model(**inputs)


def test_attributes_that_somebody_else_set_come_back(inputs):
    model, _ = tiny_llava()
    layer = model.get_decoder().layers[2]
    theirs = layer.forward
    layer.forward = theirs
    with prune_visual_tokens(model, recipe_of()):
        assert vars(layer)["forward"] is not theirs
    assert vars(layer)["forward"] is theirs


def test_nothing_holds_on_to_model_or_cache():
    model, processor = tiny_llava(num_layers=2)
    inputs = build_inputs(processor, random_picture(), "what?")
    with prune_visual_tokens(model, recipe_of((5, 5))):
        cache = weakref.ref(model(**inputs, use_cache=True).past_key_values.layers[0].keys)
        gc.collect()
        assert cache() is None
    ended = weakref.ref(model)
    del model
    gc.collect()
    assert ended() is None


# ---- what is dropped


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_lowest_products_go_and_sets_are_nested(decoder):
    model, processor = tiny_llava(decoder=decoder, num_key_value_heads=2, attention="eager")
    inputs = build_inputs(processor, random_picture(), "what is this?")
    first = int((inputs["input_ids"][0] == model.config.image_token_id).nonzero()[0])
    with prune_visual_tokens(model, recipe_of()) as trace:
        maps = model(**inputs, output_attentions=True).attentions
    alive = torch.arange(36)
    for layer, count in enumerate(REMOVED):
        highest = maps[layer][0].max(dim=0).values
        visual = slice(first, first + len(alive))
        importance = highest[visual, visual].mean(0) * highest[visual.stop :, visual].mean(0)
        order = importance.argsort()
        assert trace.dropped[layer].tolist() == alive[order[:count]].tolist()
        alive = alive[order[count:].sort().values]
        assert trace.kept[layer].tolist() == alive.tolist()


def test_first_drop_agrees_with_the_maps_of_the_plain_model(inputs):
    model, _ = tiny_llava(attention="eager")
    highest = model(**inputs, output_attentions=True).attentions[0][0].max(dim=0).values
    image = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    importance = highest[image][:, image].mean(0) * highest[image[-1] + 1 :, image].mean(0)
    with prune_visual_tokens(model, recipe_of((7, 0, 0, 0))) as trace:
        model(**inputs)
    kept, gone = importance[trace.kept[0]], importance[trace.dropped[0]]
    assert gone.max() < kept.min()  # never the other way round: the most important stay
    assert gone.tolist() == sorted(gone.tolist())


def test_a_token_that_all_look_at_survives(inputs):
    """One visual key is turned towards every query: it must be the last to go."""
    model, _ = tiny_llava()
    image = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    star = 20

    def shine(module, args, output):
        output = output.clone()
        output[0, image[star]] = output[0, image[star]] * 40
        return output

    handle = model.get_decoder().layers[0].self_attn.k_proj.register_forward_hook(shine)
    with prune_visual_tokens(model, recipe_of((34, 0, 0, 0))) as trace:
        model(**inputs)
    handle.remove()
    assert star in trace.kept[0].tolist()


def test_recipe_is_scaled_to_the_image(tiny, inputs):
    model, _ = tiny
    recipe = recipe_of((40, 0, 120, 60), num_visual_tokens=360)
    with prune_visual_tokens(model, recipe) as trace:
        model(**inputs)
    assert [dropped.numel() for dropped in trace.dropped] == list(recipe.scaled_to(36).removed)


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if kind().follows_recipe])
def test_rankings_drop_what_the_recipe_says(tiny, inputs, method):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of(), method=method) as trace:
        logits = model(**inputs).logits
    assert [dropped.numel() for dropped in trace.dropped] == list(REMOVED)
    assert_nested(trace)
    expected = reference_logits(model, inputs["input_ids"], inputs["pixel_values"], trace.kept)
    assert (logits[:, -1] - expected[:, -1]).abs().max() < 1e-5


def assert_nested(trace) -> None:
    alive = set(range(trace.num_visual_tokens))
    for kept, dropped in zip(trace.kept, trace.dropped, strict=True):
        assert set(dropped.tolist()) | set(kept.tolist()) == alive
        assert kept.tolist() == sorted(kept.tolist())
        alive = set(kept.tolist())


def test_all_visual_tokens_can_go(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of((30, 6, 0, 0))) as trace:
        words = model.generate(**inputs, max_new_tokens=3)
    assert trace.kept[1].numel() == 0
    assert words.shape[1] == inputs["input_ids"].shape[1] + 3
