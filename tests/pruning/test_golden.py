"""The authors' own runs, reproduced through the public functions."""

import pytest
import torch

from fitprune_core import PruningRecipe, prune_visual_tokens
from tests.formula import OFFICIAL, VOCABULARY, formula_llava, inputs_of


@pytest.fixture(scope="module")
def model():
    return formula_llava()


def recipe_of(removed) -> PruningRecipe:
    return PruningRecipe(
        model="formula",
        num_layers=len(removed),
        num_visual_tokens=576,
        reduction=0.5,
        achieved_reduction=0.5,
        removed=tuple(removed),
        procedure="published",
        source=OFFICIAL["source"]["repo"],
    )


@pytest.mark.parametrize("percent", ["0", "40", "60"])
def test_prefill_is_the_authors(model, percent):
    expected = OFFICIAL["results"][percent]
    with torch.no_grad(), prune_visual_tokens(model, recipe_of(expected["recipe"])) as trace:
        output = model(**inputs_of(0), use_cache=True)
    for layer, dropped in enumerate(trace.dropped):
        assert sorted(dropped.tolist()) == expected["removed_by_layer"].get(str(layer), []), f"layer {layer}"
    lengths = [layer.keys.shape[2] for layer in output.past_key_values.layers]
    assert lengths == expected["kv_cache_length_after_prefill"]
    logits = torch.tensor(expected["final_position_logits"])
    assert (output.logits[0, -1, :VOCABULARY] - logits).abs().max() < 1e-4


@pytest.mark.parametrize("percent", ["0", "40", "60"])
def test_greedy_tokens_are_the_authors(model, percent):
    expected = OFFICIAL["results"][percent]
    inputs = inputs_of(0)
    with torch.no_grad(), prune_visual_tokens(model, recipe_of(expected["recipe"])):
        tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert tokens[0, inputs["input_ids"].shape[1] :].tolist() == expected["greedy_tokens"]
