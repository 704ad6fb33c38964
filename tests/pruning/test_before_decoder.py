"""Drops before the first layer: positions, caches and answers against plain models that hide the dropped columns."""

from __future__ import annotations

import pytest
import torch

from fitprune_core import (
    DecoderGeometry,
    build_inputs,
    compare,
    prune_visual_tokens,
    request_flops,
    visual_reduction,
)
from fitprune_core.pruning.methods import Candidates, find_method
from fitprune_core.pruning.methods.divprune import DivPrune
from tests.flop_counting import counted_flops
from tests.marks import slow
from tests.pruned import REMOVED, batch_of, recipe_of
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

WORDS = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
METHODS = ["divprune", "random:schedule=before", "uniform:schedule=before", "visionzip-dominant", "fitprune+:layer=4",
           "random:schedule=withdrawal@4"]  # fmt: skip


def plain_logits(model, input_ids, pixel_values, kept, kept_before, padding=None) -> torch.Tensor:
    """Logits of a plain model to which dropped visual tokens are hidden: before the first layer too."""
    llava, decoder = model.model, model.get_decoder()
    hidden = llava.get_input_embeddings()(input_ids)
    is_image = input_ids == model.config.image_token_id
    features = torch.cat(llava.get_image_features(pixel_values, return_dict=True).pooler_output)
    hidden = hidden.masked_scatter(is_image[..., None], features)
    batch, length = input_ids.shape
    padding = torch.ones_like(input_ids) if padding is None else padding
    embeddings = decoder.rotary_emb(hidden, (padding.cumsum(1) - 1).clamp(min=0))
    numbers = is_image.cumsum(1) - 1
    for index, layer in enumerate(decoder.layers):
        alive = (kept_before if index == 0 else kept[index - 1]).reshape(-1, (kept_before, *kept)[index].shape[-1])
        arrives = torch.stack([a & torch.isin(n, k) for a, n, k in zip(is_image, numbers, alive, strict=True)])
        visible = padding.bool() & (~is_image | arrives)
        mask = visible[:, None, None] & torch.ones(length, length, dtype=torch.bool).tril()
        mask = mask | torch.eye(length, dtype=torch.bool)
        bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        hidden = layer(hidden, attention_mask=bias, position_embeddings=embeddings)
    return model.lm_head(decoder.norm(hidden))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("attention", ["sdpa", *slow("eager")])
@pytest.mark.parametrize("decoder", ["llama", "qwen2"])
def test_prefill_and_decoding_equal_a_plain_model_with_masked_columns(method, attention, decoder):
    model, processor = tiny_llava(attention=attention, decoder=decoder)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    with prune_visual_tokens(model, recipe_of(), method=method) as trace:
        output = model.generate(**inputs, **WORDS)
    assert 0 < trace.kept_before.numel() < 36 and trace.kept[0].numel() <= trace.kept_before.numel()
    expected = plain_logits(model, output.sequences, inputs["pixel_values"], trace.kept, trace.kept_before)
    for step, logits in enumerate(output.logits):
        assert (logits[0] - expected[0, inputs["input_ids"].shape[1] - 1 + step]).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("method", METHODS)
def test_batches_with_padding_are_the_prompts_alone(method, attention):
    model, processor = tiny_llava(attention=attention)
    batch, singles = batch_of(processor, ["what?", "what is in this picture of noise?", "why is that?"])
    with prune_visual_tokens(model, recipe_of(), method=method) as trace:
        together = model.generate(**batch, **WORDS)
        before, kept = trace.kept_before, list(trace.kept)
        for index, single in enumerate(singles):
            alone = model.generate(**single, **WORDS)
            assert torch.equal(before[index], trace.kept_before)
            assert all(torch.equal(a[index], b) for a, b in zip(kept, trace.kept, strict=True))
            for one, many in zip(alone.logits, together.logits, strict=False):
                assert (one[0] - many[index]).abs().max() < 1e-4


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_second_turn_and_bare_calls_go_on_at_the_prompts_positions(attention):
    model, processor = tiny_llava(attention=attention)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    more = torch.tensor([processor.tokenizer.encode(" USER: and that? ASSISTANT:", add_special_tokens=False)])
    with prune_visual_tokens(model, recipe_of(), method="divprune") as trace:
        first = model.generate(**inputs, **WORDS)
        ids = torch.cat([first.sequences, more], dim=1)
        mask = torch.ones_like(ids)
        second = model.generate(input_ids=ids, attention_mask=mask, past_key_values=first.past_key_values, **WORDS)
        kept, before = list(trace.kept), trace.kept_before
        cache = model(**inputs, use_cache=True).past_key_values
        assert cache.get_seq_length() == inputs["input_ids"].shape[1]
        assert cache.layers[0].keys.shape[2] == cache.get_seq_length() - 36 + trace.kept_before.numel()
        bare = model(input_ids=more[:, :1], past_key_values=cache).logits
    expected = plain_logits(model, second.sequences, inputs["pixel_values"], kept, before)
    for step, logits in enumerate(second.logits):
        assert (logits[0] - expected[0, ids.shape[1] - 1 + step]).abs().max() < 1e-4
    ids = torch.cat([inputs["input_ids"], more[:, :1]], dim=1)
    expected = plain_logits(model, ids, inputs["pixel_values"], kept, before)
    assert (bare[0, -1] - expected[0, -1]).abs().max() < 1e-4


def test_divprune_is_greedy_max_min(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of(), method="divprune") as trace:
        model(**inputs)
    assert trace.kept_before.tolist() == sorted(farthest_apart(model, inputs, trace.kept_before.numel()))


@pytest.mark.parametrize(("removed", "layer"), [((33, 0, 1, 0), None), ((30, 0, 0, 0), 3), (REMOVED, 4), (REMOVED, 1)])
def test_fitprune_plus_lets_different_tokens_in_and_none_go_deeper(tiny, inputs, removed, layer):
    """Half of four layers is two. REMOVED saves so little that withdrawal after the first alone would save more."""
    model, _ = tiny
    plus, last = find_method("fitprune+" if layer is None else f"fitprune+:layer={layer}"), layer or 2
    with prune_visual_tokens(model, recipe_of(removed), method=plus) as trace:
        model(**inputs)
    enter = 36 if trace.kept_before is None else trace.kept_before.numel()
    saved = visual_reduction(model.config, [gone.numel() for gone in trace.dropped], 36, 36 - enter)
    assert saved == pytest.approx(visual_reduction(model.config, removed, 36), abs=0.01)
    if layer == 1:  # so some go deeper: see the next test
        assert trace.kept_before is None and trace.kept[-1].numel() > 1
        return
    order = farthest_apart(model, inputs, enter)
    assert trace.kept[last - 1].numel() <= 1 and trace.kept[last - 2].numel() < enter < 36
    for kept in (trace.kept_before, *trace.kept):  # who was chosen first stays longest
        assert kept.tolist() == sorted(order[: len(kept)])
    assert plus.scores_after(36 - enter) == "none"


def test_fitprune_plus_lets_those_go_deeper_that_are_looked_at(inputs):
    """Recomputed from the attention maps of a plain model: the largest over heads, mean over the queries."""
    model, _ = tiny_llava(attention="eager")
    with prune_visual_tokens(model, recipe_of((0, 3, 6, 0)), method="fitprune+") as trace:
        model(**inputs)
    seen = model(**inputs, output_attentions=True).attentions[1][0].amax(dim=0)
    image = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    received = seen[image][:, image].mean(dim=0) * seen[int(image[-1]) + 1 :, image].mean(dim=0)
    kept = trace.kept[1]
    assert trace.kept_before is None and trace.kept[0].numel() == 36 > kept.numel() > 20
    assert kept.tolist() == received.topk(kept.numel()).indices.sort().values.tolist()
    assert find_method("fitprune+").scores_after(0) == "both"


def farthest_apart(model, inputs, count: int) -> list[int]:
    """DivPrune's choice with Python's own loops, from what the projector hands to the decoder."""
    features = torch.cat(model.model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output)
    far = [[1 - float(torch.cosine_similarity(a, b, dim=0)) for b in features] for a in features]
    chosen = [max(range(36), key=lambda i: min(far[i][j] for j in range(36) if j != i))]
    while len(chosen) < count:
        rest = [i for i in range(36) if i not in chosen]
        chosen.append(max(rest, key=lambda i: min(far[i][j] for j in chosen)))
    return chosen


def test_divprune_chooses_one_of_each_of_several_heaps():
    centres = torch.eye(4, 8).repeat_interleave(5, dim=0) + 0.01 * torch.randn(20, 8, generator=torch.manual_seed(0))
    importance = find_method("divprune").importance_before(centres, Candidates(torch.arange(20), 20, 4))
    assert sorted(token // 5 for token in importance.topk(4).indices.tolist()) == [0, 1, 2, 3]


def test_nothing_goes_before_the_decoder_by_other_methods(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs)
    assert trace.kept_before is None and trace.dropped_before is None


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_counted_flops_are_what_torch_counts(method):
    model, processor = tiny_llava(grid=12)
    inputs = build_inputs(processor, random_picture(), "what is in this picture?")
    after = int((inputs["input_ids"][0] == model.config.image_token_id).flip(0).int().argmax())
    with prune_visual_tokens(model, recipe_of((30, 0, 60, 20), 144), method=method) as trace:
        counted = counted_flops(lambda: model(**inputs, logits_to_keep=1))
    expected = request_flops(
        model.config,
        [dropped.numel() for dropped in trace.dropped],
        144,
        inputs["input_ids"].shape[1] - 144,
        after,
        1,
        scores="none",
        removed_before=trace.dropped_before.numel(),
        scores_before=find_method(method).scores_before,
    )
    assert counted == pytest.approx(expected.total, rel=0.005)


@pytest.mark.parametrize("method", ["divprune", "visionzip-dominant"])
def test_a_small_budget_is_met_inside_layers_by_what_was_found_before_them(tiny, method):
    """Where less than half a token should go before the decoder."""
    model, processor = tiny
    inputs, recipe = build_inputs(processor, random_picture(), "what?"), recipe_of((0, 0, 0, 1))
    drops = find_method(method).drops(recipe, DecoderGeometry.from_config(model.config.text_config), 36)
    assert not drops.before and sum(drops.removed)
    with prune_visual_tokens(model, recipe, method=method) as trace:
        model(**inputs)
    assert trace.kept_before is None and len(trace.kept[-1]) == 36 - sum(drops.removed)
    (gone,) = {*range(36)} - {*trace.kept[-1].tolist()}
    with prune_visual_tokens(model, recipe_of((9, 0, 0, 0)), method=method) as trace:
        model(**inputs)
    assert gone in trace.dropped_before.tolist()  # the same order, further down
    found = compare(model, processor, random_picture(), "what?", recipe, method=method, max_new_tokens=1, repeats=0)
    assert found.pruned.flops.scoring > 0


def test_what_was_found_before_the_layers_is_not_looked_for_again_with_every_word(tiny, monkeypatch):
    """Without a cache the prompt comes again, and brings its choice."""
    model, processor = tiny
    own, looks = DivPrune.importance_before, []
    monkeypatch.setattr(DivPrune, "importance_before", lambda *args: looks.append(1) or own(*args))
    inputs = build_inputs(processor, random_picture(), "what?")
    with prune_visual_tokens(model, recipe_of((0, 0, 0, 1)), method="divprune"):
        model.generate(**inputs, max_new_tokens=3, do_sample=False, use_cache=False)
    assert len(looks) == 1


def test_a_comparison_tells_what_never_reached_the_first_layer(tiny):
    result = compare(*tiny, random_picture(), "what?", recipe_of(), method="divprune", max_new_tokens=2, repeats=0)
    entries = result.to_json()
    before = len(entries["kept_before"])
    assert entries["dropped_after"].count(-1) == 36 - before > 0
    assert [token for token, layer in enumerate(entries["dropped_after"]) if layer >= 0] == entries["kept_before"]
    assert result.achieved_reduction == visual_reduction(tiny[0].config, result.removed, 36, 36 - before)
    assert compare(*tiny, random_picture(), "what?", recipe_of(), max_new_tokens=2, repeats=0).kept_before is None
