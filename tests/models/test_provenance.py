"""What is remembered of a model, so that its results are told from another's."""

import functools
import re

import pytest
import torch
import transformers
from torch import nn

from fitprune_core.models.decoder import decoder_layers
from fitprune_core.models.provenance import conditions_of, processor_digest, weights_digest
from tests.tiny import tiny_llava


def test_a_changed_number_is_another_model():
    model, _ = tiny_llava()
    before = weights_digest(model)
    assert weights_digest(model) == before
    with torch.no_grad():
        model.lm_head.weight[-1, -1] += 1
    assert weights_digest(model) != before


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_model_has_one_though_not_all_that_it_keeps_are_tensors():
    model, _ = tiny_llava()
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    assert weights_digest(quantised) != weights_digest(model)


class Adapted(nn.Linear):
    """A projection as peft's layers are seen from outside."""

    active_adapters = ("default",)
    disable_adapters = merged = False

    def __init__(self, **state):
        super().__init__(4, 4)
        self.scaling = {"default": 2.0, "other": 1.0}
        for name, value in state.items():
            setattr(self, name, value)


def with_adapters(*modules):
    """The model with these modules inside its first layer."""
    model, processor = tiny_llava()
    with torch.random.fork_rng():
        for number, module in enumerate(modules):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
            setattr(decoder_layers(model)[0], f"adapted_{number}", module)
    return model, processor


def weights_of(model, processor) -> str:
    return conditions_of(model, processor)["weights"]


def louder(module, args, output):
    return output * 3


def test_a_model_as_it_is_has_the_conditions_that_it_always_had():
    """Results of older versions go on: of such a model nothing else is noted, nor of what observes it."""
    model, processor = tiny_llava()
    expected = {
        "model": "LlavaForConditionalGeneration",
        "image_aspect": "crop",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": "torch.float32",
        "weights": weights_digest(model),
        "processor": processor_digest(processor),
    }
    assert list(conditions_of(model, processor).items()) == list(expected.items())
    assert re.fullmatch("[0-9a-f]{16}", expected["weights"])
    model(input_ids=torch.tensor([[5, 6]]), output_hidden_states=True, output_attentions=True)  # hooks that stay
    decoder_layers(model)[1].forward = torch.compile(decoder_layers(model)[1].forward, backend="eager")
    assert conditions_of(model, processor) == expected


def test_hooks_of_accelerate_are_no_condition():
    hooks = pytest.importorskip("accelerate.hooks")
    model, processor = tiny_llava()
    before = conditions_of(model, processor)
    for layer in decoder_layers(model):
        hooks.add_hook_to_module(layer, hooks.ModelHook())
    assert conditions_of(model, processor) == before


def test_adapters_are_a_condition_as_they_are_switched():
    digest = weights_digest(with_adapters(Adapted(), Adapted())[0])
    found = {
        words: weights_of(*with_adapters(*modules))
        for words, modules in {
            "adapters default (scaled by 2)": (Adapted(), Adapted()),
            "adapters default (scaled by 2, switched off)": (
                Adapted(disable_adapters=True),
                Adapted(disable_adapters=True),
            ),
            "adapters default and other (scaled by 2 and 1)": 2 * (Adapted(active_adapters=["default", "other"]),),
            "adapters default (scaled by 2, merged)": (Adapted(merged=True), Adapted(merged=True)),
            "model.language_model.layers.0.adapted_0: adapters default (scaled by 2), "
            "model.language_model.layers.0.adapted_1: adapters default (scaled by 2, switched off)": (
                Adapted(),
                Adapted(disable_adapters=True),
            ),
        }.items()
    }
    assert found == {words: f"{digest} with {words}" for words in found}


def test_hooks_and_forwards_are_a_condition_by_place_and_code():
    place = "model.language_model.layers.1"

    def changed(change):
        model, processor = tiny_llava()
        change(decoder_layers(model)[1])
        return weights_of(model, processor).removeprefix(weights_digest(model))

    def by(factor):
        return lambda module, args, output: output * factor

    def replaced(layer):
        own = layer.forward
        layer.forward = functools.wraps(own)(lambda *args, **kwargs: own(*args, **kwargs) * 3)

    hook = changed(lambda layer: layer.register_forward_hook(louder))
    assert re.fullmatch(rf" with hook louder \([0-9a-f]{{16}}\) on {re.escape(place)}", hook)
    assert changed(lambda layer: layer.register_forward_hook(louder)) == hook
    assert "hook louder" in changed(lambda layer: layer.register_forward_pre_hook(functools.partial(louder, output=0)))
    assert re.search(r"with forward \S*replaced\.<locals>\.<lambda> .* on model\.language", changed(replaced))
    factors = [2, 3, torch.ones(64), torch.zeros(64), torch.ones(64)]
    two, three, ones, zeros, again = (changed(lambda layer, f=f: layer.register_forward_hook(by(f))) for f in factors)
    assert len({hook, two, three, ones, zeros}) == 5 and ones == again


def test_many_hooks_are_said_in_short():
    model, processor = tiny_llava()
    handles = [layer.register_forward_hook(louder) for layer in decoder_layers(model)]
    found = weights_of(model, processor)
    assert found.count("hook louder") == 3 and re.search(r", and 1 more hooks \([0-9a-f]{16} in all\)$", found)
    handles[-1].remove()
    decoder_layers(model)[-1].mlp.register_forward_hook(louder)
    assert weights_of(model, processor) != found
