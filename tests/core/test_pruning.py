"""Properties of pruning, each computed anew by other means than the library's."""

import gc
import logging
import threading
import weakref

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlavaNextForConditionalGeneration, TextIteratorStreamer

from fitprune_core import METHODS, PruningRecipe, build_inputs, prune_visual_tokens, request_flops
from fitprune_core.decoder import exclusive_use
from tests.reference import reference_logits
from tests.tiny import random_picture, tiny_llava

REMOVED = (5, 0, 12, 9)
DECODERS = ["llama", "mistral", "qwen2"]


def recipe_of(removed=REMOVED, num_visual_tokens=36, model="tiny") -> PruningRecipe:
    return PruningRecipe(
        model=model,
        num_layers=len(removed),
        num_visual_tokens=num_visual_tokens,
        reduction=0.5,
        achieved_reduction=0.5,
        removed=tuple(removed),
    )


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def inputs(tiny):
    return build_inputs(tiny[1], random_picture(), "what is in the picture?")


def batch_of(processor, questions) -> dict[str, torch.Tensor]:
    """Prompts of unequal length, padded on the left, with different pictures."""
    singles = [build_inputs(processor, random_picture(seed=seed), text) for seed, text in enumerate(questions)]
    padded = processor.tokenizer.pad({"input_ids": [s["input_ids"][0].tolist() for s in singles]}, return_tensors="pt")
    return {**padded, "pixel_values": torch.cat([s["pixel_values"] for s in singles])}, singles


def state_of(model) -> dict:
    """What pruning could leave behind: classes, instance attributes, hooks; `_cache` is generate's own static cache."""
    return {
        name: (type(module), vars(module).keys() - {"_cache"}, [*module._forward_hooks], [*module._forward_pre_hooks])
        for name, module in model.named_modules()
    }


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


@pytest.mark.parametrize("method", METHODS)
def test_every_method_drops_what_the_recipe_says(tiny, inputs, method):
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


# ---- what comes out


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_cached_decoding_equals_an_uncached_reference(decoder, attention):
    model, processor = tiny_llava(decoder=decoder, num_key_value_heads=2, attention=attention)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model.generate(
            **inputs, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    length = inputs["input_ids"].shape[1]
    expected = reference_logits(model, output.sequences, inputs["pixel_values"], trace.kept)
    for step, logits in enumerate(output.logits):
        assert (logits[0] - expected[0, length - 1 + step]).abs().max() < 1e-5


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_left_padding_changes_nothing(decoder, attention):
    model, processor = tiny_llava(decoder=decoder, num_key_value_heads=2, attention=attention)
    batch, singles = batch_of(processor, ["what?", "what is in this picture of noise?", "why is that?"])
    options = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with prune_visual_tokens(model, recipe_of()) as trace:
        together = model.generate(**batch, **options)
        kept, dropped = list(trace.kept), list(trace.dropped)
        for index, single in enumerate(singles):
            alone = model.generate(**single, **options)
            for layer in range(4):
                assert torch.equal(kept[layer][index], trace.kept[layer])
                assert torch.equal(dropped[layer][index], trace.dropped[layer])
            for one, many in zip(alone.logits, together.logits, strict=False):
                assert (one[0] - many[index]).abs().max() < 1e-5


def test_caches_shrink(tiny, inputs):
    model, _ = tiny
    length = inputs["input_ids"].shape[1]
    with prune_visual_tokens(model, recipe_of()):
        cache = model(**inputs, use_cache=True).past_key_values
    assert [layer.keys.shape[2] for layer in cache.layers] == [length, length - 5, length - 5, length - 17]
    assert cache.get_seq_length() == length


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_second_turn_on_the_same_cache(attention):
    model, processor = tiny_llava(attention=attention)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    options = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    more = torch.tensor([processor.tokenizer.encode(" USER: and that? ASSISTANT:", add_special_tokens=False)])
    with prune_visual_tokens(model, recipe_of()) as trace:
        first = model.generate(**inputs, **options)
        ids = torch.cat([first.sequences, more], dim=1)
        second = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=first.past_key_values, **options
        )
        kept = list(trace.kept)
    expected = reference_logits(model, second.sequences, inputs["pixel_values"], kept)
    for step, logits in enumerate(second.logits):
        assert (logits[0] - expected[0, ids.shape[1] - 1 + step]).abs().max() < 1e-5


def test_requests_may_alternate_on_their_own_caches():
    model, processor = tiny_llava(attention="eager")
    prompts = [build_inputs(processor, random_picture(seed=seed), "what?") for seed in (0, 1)]
    text = build_inputs(processor, None, "what?")
    following = torch.tensor([[70]])
    with prune_visual_tokens(model, recipe_of()) as trace:
        caches, kept = [], []
        for prompt in prompts:
            caches.append(model(**prompt, use_cache=True).past_key_values)
            kept.append(list(trace.kept))
        model(**text)
        logits = [model(input_ids=following, past_key_values=cache).logits for cache in caches]
    for prompt, found, sets in zip(prompts, logits, kept, strict=True):
        ids = torch.cat([prompt["input_ids"], following], dim=1)
        expected = reference_logits(model, ids, prompt["pixel_values"], sets)
        assert (found[0, -1] - expected[0, -1]).abs().max() < 1e-5


def test_without_a_cache_the_prompt_is_pruned_alike(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of()):
        cached, uncached = (model(**inputs, use_cache=use).logits for use in (True, False))
    assert torch.equal(cached, uncached)


def test_beams_and_sampling(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of()) as trace:
        beams = model.generate(**inputs, max_new_tokens=4, num_beams=3, do_sample=False)
        assert trace.kept[-1].shape == (3, 10)
        assert torch.equal(trace.kept[-1][0], trace.kept[-1][2])
        sampled = model.generate(**inputs, max_new_tokens=4, do_sample=True)
    assert beams.shape[1] <= inputs["input_ids"].shape[1] + 4 and sampled.shape[0] == 1


def test_streaming_from_another_thread(tiny, inputs):
    model, processor = tiny
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True)
    with prune_visual_tokens(model, recipe_of()) as trace:
        words = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        options = {**inputs, "max_new_tokens": 6, "do_sample": False, "streamer": streamer}
        worker = threading.Thread(target=model.generate, kwargs=options)
        worker.start()
        streamed = "".join(streamer)
        worker.join()
    assert streamed == processor.tokenizer.decode(words)
    assert trace.kept[-1].numel() == 10


def test_several_images_in_one_prompt(inputs):
    model, processor = tiny_llava()
    pictures = [random_picture(seed=seed) for seed in (0, 1)]
    text = "USER: <image>\n<image>\nwhich of the two? ASSISTANT:"
    inputs = processor(images=pictures, text=text, return_tensors="pt")
    with prune_visual_tokens(model, recipe_of()) as trace:
        logits = model(**inputs).logits
    assert trace.num_visual_tokens == 72
    assert [dropped.numel() for dropped in trace.dropped] == [2 * count for count in REMOVED]
    expected = reference_logits(model, inputs["input_ids"], inputs["pixel_values"], trace.kept)
    assert (logits[0, -1] - expected[0, -1]).abs().max() < 1e-5


def test_a_new_prompt_starts_the_trace_anew(tiny, inputs):
    model, processor = tiny
    other = build_inputs(processor, random_picture(seed=9), "why?")
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs)
        before = trace.kept
        model(**other)
        assert trace.kept is not before
        assert any(not torch.equal(a, b) for a, b in zip(before, trace.kept, strict=True))


# ---- what it costs


@pytest.mark.parametrize("key_value_heads", [4, 2])
@pytest.mark.parametrize("method", ["fitprune", "self-only", "cross-only", "fastv", "random"])
def test_counted_flops_are_the_projects_arithmetic(method, key_value_heads):
    model, processor = tiny_llava(num_key_value_heads=key_value_heads, grid=12)
    inputs = build_inputs(processor, random_picture(), "what is in this picture?")
    ids = inputs["input_ids"][0]
    visual = (ids == model.config.image_token_id).nonzero()[:, 0]
    removed = (30, 0, 60, 20)
    counter = FlopCounterMode(display=False)
    # The counter does not know the CPU's fused kernel; spelt out, the same attention is counted as on a GPU.
    with prune_visual_tokens(model, recipe_of(removed, 144), method=method), sdpa_kernel(SDPBackend.MATH), counter:
        model(**inputs, logits_to_keep=1)
    text, after = len(ids) - len(visual), len(ids) - 1 - int(visual[-1])
    expected = request_flops(model.config, removed, 144, text, after, 1, scores=METHODS[method].scores)
    assert counter.get_total_flops() == pytest.approx(expected.total, rel=0.005)


def test_scores_are_computed_only_where_tokens_go(tiny, inputs, monkeypatch):
    model, _ = tiny
    calls = []
    method = METHODS["fitprune"]()
    score = method.importance
    method.importance = lambda attention, candidates: calls.append(candidates) or score(attention, candidates)
    with prune_visual_tokens(model, recipe_of(), method=method):
        model.generate(**inputs, max_new_tokens=3)
    assert [(len(call.tokens), call.num_kept) for call in calls] == [(36, 31), (31, 19), (19, 10)]


# ---- two at a time


def test_threads_take_turns_and_keep_their_traces(tiny):
    model, processor = tiny
    prompts = [build_inputs(processor, random_picture(seed=seed), f"number {seed}?") for seed in range(2)]

    def run(prompt):
        with exclusive_use(model):
            plain = model(**prompt).logits
            with prune_visual_tokens(model, recipe_of()) as trace:
                words = model.generate(**prompt, max_new_tokens=4, do_sample=False)
        return plain, words, trace

    alone = [run(prompt) for prompt in prompts]
    results, errors = {0: [], 1: []}, []

    def worker(index):
        try:
            with torch.no_grad():
                for _ in range(5):
                    results[index].append(run(prompts[index]))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=worker, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for index, (plain, words, trace) in enumerate(alone):
        assert len(results[index]) == 5
        for their_plain, their_words, their_trace in results[index]:
            assert torch.equal(their_plain, plain) and torch.equal(their_words, words)
            assert all(torch.equal(a, b) for a, b in zip(their_trace.kept, trace.kept, strict=True))


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


# ---- what is refused


def refused(model, words, recipe=None, **options):
    with pytest.raises(ValueError, match=words), prune_visual_tokens(model, recipe or recipe_of(), **options):
        raise AssertionError("the block was entered")


def test_recipe_of_another_depth(tiny):
    refused(tiny[0], "5 layers", recipe_of((1, 1, 1, 1, 1)))


def test_recipe_of_another_checkpoint_is_warned_about(tiny_folder, caplog):
    from fitprune_core import load_model

    model, _ = load_model(tiny_folder, device="cpu")
    with caplog.at_level(logging.WARNING), prune_visual_tokens(model, recipe_of(model="somebody/other-llava")):
        pass
    assert "somebody/other-llava" in caplog.text


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
    model, _ = tiny_llava(decoder="mistral")
    model.config.text_config.sliding_window = 16
    refused(model, "sliding window of 16")
    model, _ = tiny_llava()
    model.config.text_config.model_type = "opt"
    refused(model, "'opt'")
    model, _ = tiny_llava()
    model.hf_device_map = {"model.language_model": 0, "lm_head": "cpu"}
    refused(model, "spread over 0, cpu")
    model, _ = tiny_llava()
    model.gradient_checkpointing_enable()
    model.train()
    refused(model, "gradient checkpointing")
    assert LlavaNextForConditionalGeneration  # the other family that check_decoder lets in


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache_implementation": "static"}, "static cache"),
        ({"prefill_chunk_size": 8}, "in chunks"),
        ({"prompt_lookup_num_tokens": 3}, "prompt lookup"),
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
        with pytest.raises(ValueError, match="without input_ids"):
            model(inputs_embeds=torch.zeros(1, 5, 64))
        with pytest.raises(ValueError, match="inside a prompt"):
            holes = inputs["attention_mask"].clone()
            holes[0, -3] = 0
            model(**{**inputs, "attention_mask": holes})
        ids = torch.cat([inputs["input_ids"], inputs["input_ids"]])
        ids[1, -1] = model.config.image_token_id
        with pytest.raises(ValueError, match="36 and 37 visual tokens"):
            model(input_ids=ids)
        with pytest.raises(ValueError, match="ends with its image"):
            ending = inputs["input_ids"][:, : int((inputs["input_ids"][0] == 3).nonzero()[-1]) + 1]
            model(input_ids=ending, pixel_values=inputs["pixel_values"])
    with prune_visual_tokens(model, recipe_of()), pytest.raises(ValueError, match="outside this block"):
        model(input_ids=torch.tensor([[70]]), past_key_values=cache)
