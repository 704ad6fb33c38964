"""Which attention backend a decoder uses changes neither what is dropped nor what is said."""

import pytest
import torch

from fitprune_core import build_inputs, collect_statistics, prune_visual_tokens
from tests.flash import use_flash_attention
from tests.marks import slow
from tests.pruned import DECODERS, batch_of, recipe_of
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

WORDS = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}


@pytest.fixture(params=["qwen2", *slow(*(name for name in DECODERS if name != "qwen2"))])
def decoder(request):
    return request.param


@pytest.fixture
def with_backend(decoder, monkeypatch):
    """(model, processor) with the same weights and another backend; flash attention brings the list of its calls."""

    def make(backend, family="llava"):
        options = {"family": family, "decoder": decoder, "num_key_value_heads": 2}
        if backend != "flash":
            return *tiny_llava(**options, attention=backend), []
        model, processor = tiny_llava(**options)
        return model, processor, use_flash_attention(model, monkeypatch)

    return make


def pruned(model, inputs):
    """The kept sets of a prompt, and the logits of its answer, (steps, batch, vocabulary)."""
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model.generate(**inputs, **WORDS)
    return list(trace.kept), torch.stack(output.logits)


def assert_same(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    assert (one[1] - other[1]).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("backend", ["eager", "flash"])
def test_kept_sets_and_logits_are_those_of_sdpa(with_backend, backend, family):
    model, processor, _ = with_backend("sdpa", family)
    other, _, calls = with_backend(backend, family)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    assert_same(pruned(model, inputs), pruned(other, inputs))
    # Without padding, flash attention must not take the gaps between positions for packed sequences.
    assert set(calls) <= {"flash_attn_func"} and len(calls) == (20 if backend == "flash" else 0)


@pytest.mark.parametrize("backend", ["eager", "flash"])
def test_left_padding(with_backend, backend):
    model, processor, _ = with_backend("sdpa")
    other, _, calls = with_backend(backend)
    batch, _ = batch_of(processor, ["what?", "what is in this picture of noise?", "why is that?"])
    assert_same(pruned(model, batch), pruned(other, batch))
    assert calls == (["flash_attn_varlen_func"] * 20 if backend == "flash" else [])


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("backend", ["eager", "flash"])
def test_a_second_turn_on_the_same_cache(with_backend, backend, padded):
    questions = ["what?", "what is in this picture of noise?"] if padded else ["what?"]
    results = []
    for name in ("sdpa", backend):
        model, processor, _ = with_backend(name)
        batch, _ = batch_of(processor, questions)
        more = torch.tensor([processor.tokenizer.encode(" USER: and that? ASSISTANT:", add_special_tokens=False)])
        with prune_visual_tokens(model, recipe_of()) as trace:
            first = model.generate(**batch, **WORDS)
            ids = torch.cat([first.sequences, more.expand(len(questions), -1)], dim=1)
            mask = torch.cat([batch["attention_mask"], torch.ones_like(ids[:, batch["input_ids"].shape[1] :])], dim=1)
            cache = first.past_key_values
            second = model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache, **WORDS)
        results.append((list(trace.kept), torch.stack(second.logits)))
    assert_same(*results)


@pytest.mark.parametrize("backend", ["eager", "flash"])
def test_statistics(with_backend, backend):
    samples = [(random_picture(seed=seed), "what is this?") for seed in range(2)]
    found = []
    for name in ("sdpa", backend):
        model, processor, _ = with_backend(name)
        found.append(collect_statistics(model, processor, samples))
    for name in ("self_attention", "cross_attention"):
        one, other = (getattr(statistics, name) for statistics in found)
        assert one == pytest.approx(other, rel=1e-4, abs=1e-7)
