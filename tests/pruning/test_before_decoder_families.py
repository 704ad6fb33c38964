"""Dropping before the decoder in other families: tiles with newlines or text between them, merged patches, M-RoPE.

Everything is held against a plain model that runs the whole sequence in one piece and hides what was dropped.
"""

from __future__ import annotations

import pytest
import torch

from fitprune_core import build_inputs, compare, load_model, prune_visual_tokens, visual_reduction
from fitprune_core.run.batch import padded_together
from tests.families.internvl import save_tiny_internvl
from tests.families.llava_onevision import save_tiny_onevision
from tests.families.qwen_vl import save_tiny_qwen
from tests.families.smolvlm import save_tiny_smolvlm
from tests.flop_counting import counted_flops
from tests.marks import slow
from tests.pruned import recipe_of, state_of
from tests.reference import masked_logits
from tests.tiny import random_picture, save_tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

WRITERS = {
    "llava_next": lambda folder: save_tiny_llava(folder, family="llava_next"),
    "llava_onevision": save_tiny_onevision,
    "qwen2_vl": lambda folder: save_tiny_qwen(folder, "qwen2_vl"),
    "qwen2_5_vl": lambda folder: save_tiny_qwen(folder, "qwen2_5_vl"),
    "internvl": save_tiny_internvl,
    "smolvlm": lambda folder: save_tiny_smolvlm(folder, kind="smolvlm"),
}
METHODS = ["divprune", "random:schedule=before", "fitprune+:layer=4"]
# The tower's attention ranks tokens where they are its patches.
CASES = [(name, METHODS[0]) for name in WRITERS]
CASES += slow(*((name, method) for name in WRITERS for method in METHODS[1:]))
CASES += slow(*((name, "visionzip-dominant") for name in ("llava_next", "llava_onevision")))
QUESTION = "What is in the picture?"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("before")
    return {name: load_model(write(root / name), device="cpu") for name, write in WRITERS.items()}


@pytest.fixture(params=CASES, ids=" ".join)
def case(models, request):
    name, method = request.param
    return *models[name], method


def asked(processor, size=(180, 120), question=QUESTION, seed=0):
    return build_inputs(processor, random_picture(*size, seed=seed), question)


def visual(model, inputs) -> int:
    return int((inputs["input_ids"] == model.config.image_token_id).sum())


def half_of(model, count):
    """A recipe of the model's depth that drops most tokens, early and late."""
    layers = model.config.text_config.num_hidden_layers
    return recipe_of((count // 3, *[0] * (layers - 2), count // 3), count)


def options(model, new_tokens=4):
    """Greedy words of which none is a placeholder, which a second look would take for a picture."""
    return {
        "max_new_tokens": new_tokens,
        "min_new_tokens": new_tokens,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
        "suppress_tokens": [model.config.image_token_id],
    }


@pytest.mark.slow
def test_prefill_and_decoding_equal_a_plain_model_with_hidden_columns(case):
    model, processor, method = case
    inputs = asked(processor)
    count, length = visual(model, inputs), inputs["input_ids"].shape[1]
    plain, before = model(**inputs).logits, state_of(model)
    with prune_visual_tokens(model, half_of(model, count), method=method) as trace:
        logits = model(**inputs).logits
        kept, kept_before = list(trace.kept), trace.kept_before
        assert torch.equal(model(**inputs).logits, logits)
        made = model.generate(**inputs, **options(model))
        positions = trace.positions
    assert 0 < len(kept_before) < count
    text = [row for row, token in enumerate(inputs["input_ids"][0]) if token != model.config.image_token_id]
    rows = torch.searchsorted(positions, torch.tensor(text))
    expected = masked_logits(model, inputs, kept, kept_before=kept_before)
    assert (logits[0, rows] - expected[0, text]).abs().max() < 1e-4
    assert (plain[0, -1] - expected[0, -1]).abs().max() > 1e-2
    new = made.sequences[0, length:].tolist()
    expected = masked_logits(model, inputs, kept, new[:-1], kept_before)[0, -len(new) :]
    assert (torch.cat(made.logits) - expected).abs().max() < 1e-4
    assert torch.equal(model(**inputs).logits, plain) and state_of(model) == before


def test_trace_and_cache_tell_what_went(case):
    model, processor, method = case
    inputs = asked(processor)
    count, length = visual(model, inputs), inputs["input_ids"].shape[1]
    recipe = half_of(model, count)
    with prune_visual_tokens(model, recipe, method=method) as trace:
        output = model(**inputs, use_cache=True)
        cache, steps = output.past_key_values, [output.logits[0, -1]]
        assert cache.get_seq_length() == length
        for token in (20, 40, 60):
            output = model(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            steps.append(output.logits[0, -1])
    tokens = torch.cat([trace.kept_before, trace.dropped_before]).sort().values
    assert tokens.tolist() == list(range(count))
    arriving = [trace.kept_before, *trace.kept[:-1]]
    for layer, left, kept, dropped in zip(cache.layers, arriving, trace.kept, trace.dropped, strict=True):
        assert layer.keys.shape[2] == length - count + len(left) + 3
        assert torch.equal(torch.cat([kept, dropped]).sort().values, left)
    counts = [len(dropped) for dropped in trace.dropped]
    saved = visual_reduction(model.config, counts, count, len(trace.dropped_before))
    assert saved == pytest.approx(visual_reduction(model.config, recipe.removed, count), abs=1e-2)
    expected = masked_logits(model, inputs, trace.kept, [20, 40, 60], trace.kept_before)[0, -4:]
    assert (torch.stack(steps) - expected).abs().max() < 1e-4


@pytest.mark.slow
def test_counted_flops_are_what_torch_counts(case):
    model, processor, method = case
    picture = random_picture(180, 120)
    inputs = build_inputs(processor, picture, QUESTION)
    recipe = half_of(model, visual(model, inputs))
    run = compare(model, processor, picture, QUESTION, recipe, method=method, max_new_tokens=3, repeats=0).pruned
    words = {"max_new_tokens": run.new_tokens, "min_new_tokens": run.new_tokens, "do_sample": False}
    with prune_visual_tokens(model, recipe, method=method):
        counted = counted_flops(lambda: model.generate(**inputs, **words))
    assert run.flops.total == pytest.approx(counted, rel=0.005)


@pytest.mark.slow
def test_a_batch_is_its_prompts_alone(case):
    """Left padding, pictures of one shape: each prompt keeps its own tokens, at its own positions."""
    model, processor, method = case
    prompts = [asked(processor, question="Why?" * at, seed=at) for at in (1, 3)]
    together = padded_together(prompts, processor.tokenizer)
    recipe = half_of(model, visual(model, prompts[0]))
    with prune_visual_tokens(model, recipe, method=method) as trace:
        batch = torch.stack(model.generate(**together, **options(model)).logits, dim=1)
        before = trace.kept_before
        for index, prompt in enumerate(prompts):
            alone = torch.stack(model.generate(**prompt, **options(model)).logits, dim=1)[0]
            assert torch.equal(before[index], trace.kept_before)
            assert (batch[index] - alone).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_deepstack_refuses_it_at_once(tmp_path, method):
    """Qwen3-VL adds features to all visual tokens in its first layers, so none may be gone by then."""
    model, processor = load_model(save_tiny_qwen(tmp_path / "qwen3_vl", "qwen3_vl"), device="cpu")
    picture = random_picture(180, 120)
    inputs = build_inputs(processor, picture, QUESTION)
    count = visual(model, inputs)
    recipe = recipe_of((0, 0, count - 2, 0, 0), count)
    before, words = (
        state_of(model),
        r"before the decoder, but Qwen3-VL adds features .* layer 3 \(counted from 1\) is the first",
    )
    with pytest.raises(ValueError, match=words), prune_visual_tokens(model, recipe, method=method):
        raise AssertionError("the block was entered")
    with pytest.raises(ValueError, match=words):
        compare(model, processor, picture, QUESTION, recipe, method=method, max_new_tokens=2, repeats=0)
    assert state_of(model) == before


@pytest.mark.slow
def test_deepstack_lets_fitprune_plus_drop_where_nothing_has_to_go_before(tmp_path):
    """A budget that tokens leaving after layer 4 of 5 save by themselves."""
    model, processor = load_model(save_tiny_qwen(tmp_path / "qwen3_vl", "qwen3_vl"), device="cpu")
    inputs = asked(processor)
    recipe = recipe_of((0, 0, 0, 4, 2), visual(model, inputs))
    with prune_visual_tokens(model, recipe, method="fitprune+:layer=4") as trace:
        logits = model(**inputs).logits[0, -1]
    assert trace.kept_before is None and trace.dropped[3].numel() > 0 and not any(map(len, trace.dropped[:3]))
    assert (logits - masked_logits(model, inputs, trace.kept)[0, -1]).abs().max() < 1e-4
