"""FastV and PyramidDrop inside a model, each recomputed from whole attention maps of models that were never pruned."""

from __future__ import annotations

import pytest
import torch

from fitprune_core import METHODS, build_inputs, prune_visual_tokens, visual_reduction
from fitprune_core.recipes.budget import TOLERANCE
from tests.pruned import recipe_of
from tests.reference import reference_logits
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

WORDS = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
DEEP = (30, 0, 20, 0, 30, 10, 0, 0)  # of 144 tokens


@pytest.fixture(scope="module")
def deep():
    """Eight layers whose attention can be asked for, 144 visual tokens, and a prompt."""
    model, processor = tiny_llava(attention="eager", grid=12, num_layers=8)
    return model, build_inputs(processor, random_picture(), "what is this?")


def last_rows(model, inputs, hidden: list[int] = ()) -> list[torch.Tensor]:
    """Attention from the prompt's last token to each visual token, mean over heads, at every layer of a plain model."""
    maps = model(**inputs, output_attentions=True).attentions
    image = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    return [attention[0, :, -1, image].mean(dim=0) for attention in maps]


def test_fastv_keeps_what_the_last_token_attends_to_after_layer_2(deep):
    model, inputs = deep
    with prune_visual_tokens(model, recipe_of(DEEP, 144), method="fastv") as trace:
        model(**inputs)
    kept = trace.kept[1]
    # Until its drop the model is the plain one, so the plain model's map decides.
    best = last_rows(model, inputs)[1].topk(len(kept)).indices
    assert set(kept.tolist()) == set(best.tolist())
    assert trace.kept[0].numel() == 144 and trace.kept_before is None
    assert trace.kept[-1].numel() >= len(kept) - 2


def test_fastv_answers_as_if_what_it_drops_had_left_after_the_whole_layer(deep):
    """Its own code drops after layer 2's MLP; the reference hides dropped rows from layer 3 on, which is that."""
    model, inputs = deep
    with prune_visual_tokens(model, recipe_of(DEEP, 144), method="fastv:layer=3") as trace:
        output = model.generate(**inputs, **WORDS)
    assert trace.kept[1].numel() == 144 > trace.kept[2].numel()
    expected = reference_logits(model, output.sequences, inputs["pixel_values"], trace.kept)
    for step, logits in enumerate(output.logits):
        assert (logits[0] - expected[0, inputs["input_ids"].shape[1] - 1 + step]).abs().max() < 1e-5


def test_pyramiddrop_passes_on_a_share_by_the_last_tokens_attention(deep):
    model, inputs = deep
    with prune_visual_tokens(model, recipe_of(DEEP, 144), method="pyramiddrop") as trace:
        model(**inputs)
    left = [144, *(kept.numel() for kept in trace.kept)]
    shares = [left[layer + 2] / left[layer] for layer in (0, 2, 4)]
    assert max(shares) - min(shares) < 0.06
    best = last_rows(model, inputs)[1].topk(left[2]).indices
    assert set(trace.kept[1].tolist()) == set(best.tolist())
    # Whatever a later stage keeps beats, in the model that lost the others, all that it drops there.
    with prune_visual_tokens(model, recipe_of(DEEP, 144), method="pyramiddrop") as trace:
        maps = model(**inputs, output_attentions=True).attentions
    image = int((inputs["input_ids"][0] == model.config.image_token_id).nonzero()[0])
    row = maps[3][0, :, -1, image : image + left[3]].mean(dim=0)
    stays = torch.isin(trace.kept[2], trace.kept[3])
    assert row[stays].min() > row[~stays].max()


@pytest.mark.slow
@pytest.mark.parametrize("method", [*METHODS, "fitprune:schedule=one-shot@1", "random:schedule=staircase"])
@pytest.mark.parametrize("removed", [DEEP, (0, 10, 0, 5, 0, 0, 20, 0), (100, 20, 4, 0, 0, 0, 0, 0)])
def test_all_methods_save_what_the_recipe_saves(deep, method, removed):
    model, inputs = deep
    recipe = recipe_of(removed, 144)
    with prune_visual_tokens(model, recipe, method=method) as trace:
        output = model.generate(**inputs, **WORDS)
    counts = [dropped.numel() for dropped in trace.dropped]
    before = 0 if trace.dropped_before is None else trace.dropped_before.numel()
    saved = visual_reduction(model.config, counts, 144, before)
    assert saved == pytest.approx(visual_reduction(model.config, removed, 144), abs=2 * TOLERANCE)
    assert output.sequences.shape[1] == inputs["input_ids"].shape[1] + 5


def test_a_budget_that_a_method_cannot_meet_is_refused_at_once(deep):
    model, _ = deep
    recipe = recipe_of((140, 2, 0, 0, 0, 0, 0, 0), 144)
    with (
        pytest.raises(ValueError, match="dropping after layer 4 saves"),
        prune_visual_tokens(model, recipe, method="fastv:layer=4"),
    ):
        pass
