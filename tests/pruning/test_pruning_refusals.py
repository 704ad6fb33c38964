"""What cannot be pruned is refused with a sentence, and the model stays as it was."""

import logging

import pytest
import torch

from fitprune_core import (
    build_inputs,
    collect_statistics,
    fit_recipe,
    fit_recipe_sequential,
    load_model,
    prune_visual_tokens,
)
from fitprune_core.models.family import Family, family_of
from tests.families.qwen_vl import save_tiny_qwen
from tests.pruned import recipe_of, state_of
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")


def refused(model, words, recipe=None, **options):
    with pytest.raises(ValueError, match=words), prune_visual_tokens(model, recipe or recipe_of(), **options):
        raise AssertionError("the block was entered")


def test_recipe_of_another_depth(tiny):
    refused(tiny[0], "5 layers", recipe_of((1, 1, 1, 1, 1)))


@pytest.mark.slow
def test_recipe_of_another_checkpoint_is_warned_about(tiny_folder, caplog):
    model, _ = load_model(tiny_folder, device="cpu")
    with caplog.at_level(logging.WARNING), prune_visual_tokens(model, recipe_of(model="somebody/other-llava")):
        pass
    assert "somebody/other-llava" in caplog.text


def test_a_block_in_which_nothing_ran_says_so(tiny, inputs, caplog):
    """A thread that begins to generate when the block is over would not be pruned, and nobody would notice."""
    model = tiny[0]
    with caplog.at_level(logging.WARNING):
        with prune_visual_tokens(model, recipe_of()):
            pass
        assert "nothing was pruned" in caplog.text
        caplog.clear()
        with prune_visual_tokens(model, recipe_of()):
            model(**inputs)
        with prune_visual_tokens(model, recipe_of((0, 0, 0, 0))):
            pass
        with pytest.raises(RuntimeError, match="mine"), prune_visual_tokens(model, recipe_of()):
            raise RuntimeError("mine")
    assert "nothing was pruned" not in caplog.text


def test_unknown_method(tiny):
    refused(tiny[0], "'best'.*fitprune", method="best")


def test_nested_blocks(tiny, inputs):
    model, _ = tiny
    model(**inputs)
    before = state_of(model)
    with prune_visual_tokens(model, recipe_of()):
        refused(model, "nested")
        model(**inputs)
    assert state_of(model) == before


def test_models_that_cannot_be_pruned():
    refused(torch.nn.Linear(2, 2), "Linear")
    refused(None, "type None")
    model, _ = tiny_llava()
    model.lm_head.to("meta")
    refused(model, "weights on no device")
    model, _ = tiny_llava(decoder="mistral")
    model.config.text_config.sliding_window = 16
    refused(model, "sliding window of 16")
    model, _ = tiny_llava()
    model.hf_device_map = {"model.language_model": 0, "lm_head": "cpu"}
    refused(model, "spread over 0, cpu")
    model, _ = tiny_llava()
    model._tp_size = 2  # as transformers notes it
    refused(model, "split among 2 processes")
    model, _ = tiny_llava()
    model.activation_checkpointing_enable()
    model.train()
    refused(model, "gradient checkpointing")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache_implementation": "static"}, "static cache"),
        ({"prefill_chunk_size": 8}, "in chunks"),
        ({"prompt_lookup_num_tokens": 3}, "prompt lookup"),
        ({"assistant_model": object()}, "assisted generation"),
    ],
)
def test_ways_to_generate_that_cannot_work(tiny, inputs, options, words):
    model, _ = tiny
    model(**inputs)
    before = state_of(model)
    with prune_visual_tokens(model, recipe_of()), pytest.raises(ValueError, match=words):
        model.generate(**inputs, max_new_tokens=2, **options)
    assert state_of(model) == before


def test_calls_that_cannot_work(tiny, inputs):
    model, processor = tiny
    with prune_visual_tokens(model, recipe_of()):
        cache = model(**inputs, use_cache=True).past_key_values
        with pytest.raises(ValueError, match="filled cache"):
            model(**inputs, past_key_values=cache)
        with pytest.raises(ValueError, match="4 dimensions"):
            model(**{**inputs, "attention_mask": torch.ones(1, 1, 5, 5)})
        with pytest.raises(ValueError, match="no placeholder"):
            model(inputs_embeds=torch.zeros(1, 5, 64))
        with pytest.raises(ValueError, match="inside a prompt"):
            holes = inputs["attention_mask"].clone()
            holes[0, -3] = 0
            model(**{**inputs, "attention_mask": holes})
        for hidden in (slice(0, 12), slice(30, None)):
            mask = inputs["attention_mask"].clone()
            mask[0, hidden] = 0
            with pytest.raises(ValueError, match="hides visual tokens"):
                model(**{**inputs, "attention_mask": mask})
        with pytest.raises(ValueError, match="is a dict"):
            model(**{**inputs, "attention_mask": {"full_attention": inputs["attention_mask"]}})
        ids = torch.cat([inputs["input_ids"], inputs["input_ids"]])
        ids[1, -1] = model.config.image_token_id
        with pytest.raises(ValueError, match="36 and 37 visual tokens"):
            model(input_ids=ids)
        with pytest.raises(ValueError, match="ends with its image"):
            ending = inputs["input_ids"][:, : int((inputs["input_ids"][0] == 3).nonzero()[-1]) + 1]
            model(input_ids=ending, pixel_values=inputs["pixel_values"])
    with prune_visual_tokens(model, recipe_of()), pytest.raises(ValueError, match="outside this block"):
        model(input_ids=torch.tensor([[70]]), past_key_values=cache)


def test_packed_sequences_are_refused(tiny, inputs):
    """After a drop there is one mask for the whole row, by which they would see each other."""
    model, _ = tiny
    ids = torch.cat([inputs["input_ids"]] * 2, dim=1)
    pictures = torch.cat([inputs["pixel_values"]] * 2)
    positions = torch.arange(ids.shape[1] // 2).repeat(2)[None]
    with prune_visual_tokens(model, recipe_of(), method="uniform"):
        for told in ({"position_ids": positions}, {"cu_seq_lens_q": torch.tensor([0, 40, 80])}):
            with pytest.raises(ValueError, match="several packed sequences"):
                model(input_ids=ids, pixel_values=pictures, use_cache=False, **told)
        model(**inputs, position_ids=torch.arange(inputs["input_ids"].shape[1])[None])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl"])
def test_videos_are_refused(tmp_path, kind):
    """Their tokens would be taken for text, and what was measured would be the model as it is."""
    model, processor = load_model(save_tiny_qwen(tmp_path / kind, kind), device="cpu")
    inputs = build_inputs(processor, random_picture(), "what is this?")
    first = family_of(model.config).first_drop_layer(model.config)
    recipe = recipe_of([0] * first + [1] + [0] * (4 - first))
    ids = inputs["input_ids"].clone()
    ids[ids == model.config.image_token_id] = model.config.video_token_id
    with prune_visual_tokens(model, recipe):
        model(**inputs)
        with pytest.raises(ValueError, match="holds a video"):
            model(input_ids=ids)
        with pytest.raises(ValueError, match="holds a video"):
            model(**inputs, pixel_values_videos=inputs["pixel_values"])
    with prune_visual_tokens(model, recipe_of([0] * 5)):
        model(input_ids=ids)  # where nothing is pruned nothing is refused


@pytest.mark.slow
def test_no_drop_before_the_first_layer_that_may(tiny, inputs, monkeypatch):
    """As in Qwen3-VL, whose first layers add features of the picture after they ran."""
    model, processor = tiny
    monkeypatch.setattr(Family, "first_drop_layer", lambda self, config: 2)
    words = "drops visual tokens at layer 2, but LLaVA-1.5 .* up to layer 2; layer 3 .counted from 1. is the first"
    refused(model, f"fitprune {words}", recipe_of((0, 1, 0, 0)))
    refused(model, f"fastv.* {words}.*fastv:layer=3 drops there", recipe_of((0, 0, 9, 9)), method="fastv:layer=2")
    refused(model, "before the decoder.*divprune cannot do that", recipe_of((0, 0, 9, 9)), method="divprune")
    refused(model, "first_drop_layer of the fit, which counts from 0: 2", recipe_of((0, 1, 0, 0)))
    with prune_visual_tokens(model, recipe_of((0, 0, 9, 9))) as trace:
        model(**inputs)
    assert [len(kept) for kept in trace.kept] == [36, 36, 27, 18]
    samples = [(random_picture(seed=seed), "what?") for seed in range(2)]
    statistics = collect_statistics(model, processor, samples)
    assert statistics.provenance["first_drop_layer"] == "2" and not any(fit_recipe(statistics, 0.3).removed[:2])
    assert not any(fit_recipe_sequential(model, processor, samples, 0.3).removed[:2])
