"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL pruned: exact, with M-RoPE and deepstack, and from the command line."""

from __future__ import annotations

import pytest
import torch

from app.showing.presentation import trace_of
from fitprune_core import build_inputs, collect_statistics, compare, fit_recipe, load_model, prune_visual_tokens
from fitprune_core.cost.decoder import DecoderGeometry
from fitprune_core.models.family import family_of
from fitprune_core.run.batch import kind_of, padded_together
from tests.families.qwen_vl import KINDS, save_tiny_qwen
from tests.pruned import recipe_of, state_of
from tests.reference import masked_logits
from tests.tiny import random_picture

QUESTION = "What is in the picture?"
# Before layer 2 Qwen3-VL's deepstack still adds features to all tokens.
REMOVED = {"qwen2_vl": (3, 0, 5, 4, 2), "qwen2_5_vl": (3, 0, 5, 4, 2), "qwen3_vl": (0, 0, 5, 4, 2)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("qwen")
    return {kind: save_tiny_qwen(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(folders, kind):
    return load_model(folders[kind], device="cpu")


@pytest.fixture
def inputs(loaded):
    return build_inputs(loaded[1], random_picture(180, 120), QUESTION)


def recipe_for_inputs(model, inputs, removed):
    tokens = int((inputs["input_ids"] == model.config.image_token_id).sum())
    return recipe_of(removed, num_visual_tokens=tokens, model="tiny")


@torch.no_grad()
def test_decoding_is_a_plain_models_with_dropped_columns_hidden(loaded, inputs, kind):
    """Whether positions of new tokens come from `generate` or from the model itself (`rope_deltas`)."""
    model, _ = loaded
    answer = [20, 40, 60, 80]
    with prune_visual_tokens(model, recipe_for_inputs(model, inputs, REMOVED[kind])) as trace:
        output = model(**inputs, use_cache=True)
        steps = [output.logits[0, -1]]
        for token in answer:
            ids = torch.tensor([[token]])
            output = model(input_ids=ids, past_key_values=output.past_key_values, use_cache=True)
            steps.append(output.logits[0, -1])
        kept = list(trace.kept)
        asked = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
        made = model.generate(**inputs, **asked)
    expected = masked_logits(model, inputs, kept, answer)[0, -len(steps) :]
    assert torch.allclose(torch.stack(steps), expected, atol=1e-4)
    new = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    expected = masked_logits(model, inputs, kept, new[:-1])[0, -len(new) :]
    assert torch.allclose(torch.cat(made.logits), expected, atol=1e-4)


@torch.no_grad()
def test_outside_the_block_nothing_has_changed(loaded, inputs, kind):
    model, _ = loaded
    asked = {"max_new_tokens": 4, "do_sample": False}
    plain, before = model.generate(**inputs, **asked), state_of(model)
    with prune_visual_tokens(model, recipe_for_inputs(model, inputs, REMOVED[kind])):
        model.generate(**inputs, **asked)
    assert state_of(model) == before
    assert torch.equal(model.generate(**inputs, **asked), plain)


@torch.no_grad()
@pytest.mark.parametrize("removed", [(3, 0, 0, 0, 0), (0, 3, 0, 0, 0)])
def test_a_drop_before_deepstack_is_done_is_refused(folders, removed):
    model, processor = load_model(folders["qwen3_vl"], device="cpu")
    inputs = build_inputs(processor, random_picture(180, 120), QUESTION)
    assert family_of(model).first_drop_layer(model.config) == 2
    refused = pytest.raises(ValueError, match="Qwen3-VL adds features .* up to layer 2; layer 3 .counted from 1.")
    with refused, prune_visual_tokens(model, recipe_for_inputs(model, inputs, removed)):
        model(**inputs)


def test_the_fit_keeps_clear_of_deepstack(loaded, kind):
    model, processor = loaded
    first = family_of(model).first_drop_layer(model.config)
    statistics = collect_statistics(model, processor, [(random_picture(180, 120), QUESTION)])
    recipe = fit_recipe(statistics, 0.3)
    assert not any(recipe.removed[:first]) and sum(recipe.removed)
    assert recipe.achieved_reduction == pytest.approx(0.3, abs=0.02)
    assert (first > 0) == (kind == "qwen3_vl")


@pytest.mark.slow
@torch.no_grad()
def test_a_batch_answers_as_its_prompts_do_alone(loaded, kind):
    """Pictures of equally many tokens but another shape, in prompts of other lengths: positions are each one's own."""
    model, processor = loaded
    pictures = random_picture(224, 120), random_picture(120, 224, seed=1)
    prompts = [build_inputs(processor, picture, "Why?" * at) for at, picture in enumerate(pictures, start=1)]
    assert len({kind_of(prompt, model.config) for prompt in prompts}) == 1
    together = padded_together(prompts, processor.tokenizer)
    asked = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    asked |= {"output_logits": True, "return_dict_in_generate": True}
    with prune_visual_tokens(model, recipe_for_inputs(model, prompts[0], REMOVED[kind])):
        batch = torch.stack(model.generate(**together, **asked).logits, dim=1)
        alone = [torch.stack(model.generate(**prompt, **asked).logits, dim=1)[0] for prompt in prompts]
    assert torch.allclose(batch, torch.stack(alone), atol=1e-4)


def test_the_scrubber_draws_one_box_a_merged_token(loaded, kind):
    model, processor = loaded
    picture = random_picture(180, 120)
    statistics = collect_statistics(model, processor, [(picture, QUESTION)])
    result = compare(model, processor, picture, QUESTION, fit_recipe(statistics, 0.3), max_new_tokens=2, repeats=0)
    trace = trace_of(result, picture, DecoderGeometry.from_config(model.config))
    rows, columns = 4, 6
    assert (trace.rows, trace.columns) == (rows, columns) and trace.seen == [0, 0, 180, 120]
    assert trace.views == ["grid"] * (rows * columns)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in trace.boxes]
    assert sum(areas) == pytest.approx(180 * 120, rel=1e-3) and max(areas) == pytest.approx(min(areas), rel=1e-2)
    assert trace.tokens == [len(kept) for kept in result.kept]
