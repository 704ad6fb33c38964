"""What a pruned model says, what that costs, and two threads at a time."""

import threading

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import TextIteratorStreamer

from fitprune_core import METHODS, build_inputs, prune_visual_tokens, request_flops
from fitprune_core.models.decoder import tells_normaliser
from fitprune_core.models.exclusive import exclusive_use
from tests.flop_counting import counted_flops
from tests.marks import slow
from tests.pruned import DECODERS, REMOVED, batch_of, recipe_of
from tests.reference import reference_logits
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")


# ---- what comes out


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("attention", "key_value_heads"), [("sdpa", 2), pytest.param("sdpa", 4, marks=pytest.mark.slow), ("eager", 2)]
)
def test_cached_decoding_equals_an_uncached_reference(decoder, attention, key_value_heads):
    model, processor = tiny_llava(decoder=decoder, num_key_value_heads=key_value_heads, attention=attention)
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
@pytest.mark.parametrize("image_size", [(48, 36), (30, 90)])
def test_llava_next_equals_an_uncached_reference(decoder, image_size):
    model, processor = tiny_llava(family="llava_next", decoder=decoder)
    inputs = build_inputs(processor, random_picture(*image_size), "what is this?")
    options = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    options["suppress_tokens"] = [model.config.image_token_id]  # the reference would take it for an image
    recipe = recipe_of((50, 0, 120, 90), num_visual_tokens=360)
    with prune_visual_tokens(model, recipe) as trace:
        output = model.generate(**inputs, **options)
    count = int((inputs["input_ids"] == model.config.image_token_id).sum())
    assert [dropped.numel() for dropped in trace.dropped] == list(recipe.scaled_to(count).removed)
    expected = reference_logits(
        model, output.sequences, inputs["pixel_values"], trace.kept, image_sizes=inputs["image_sizes"]
    )
    for step, logits in enumerate(output.logits):
        assert (logits[0] - expected[0, inputs["input_ids"].shape[1] - 1 + step]).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("decoder", [DECODERS[0], *slow(*DECODERS[1:])])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_left_padding_changes_nothing(decoder, attention, family):
    model, processor = tiny_llava(family=family, decoder=decoder, num_key_value_heads=2, attention=attention)
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


def test_right_padding_changes_nothing(tiny):
    model, processor = tiny
    batch, singles = batch_of(processor, ["what?", "what is in this picture of noise?"], side="right")
    with prune_visual_tokens(model, recipe_of()) as trace:
        together = model(**batch).logits
        kept = list(trace.kept)
        for index, single in enumerate(singles):
            alone = model(**single).logits
            assert all(torch.equal(kept[layer][index], trace.kept[layer]) for layer in range(4))
            assert (together[index, : alone.shape[1]] - alone[0]).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model, processor = tiny_llava()
    model.to(dtype)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model(**inputs, use_cache=True)
    assert output.logits.dtype == dtype and output.logits.isfinite().all()
    assert [kept.numel() for kept in trace.kept] == [31, 31, 19, 10]


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


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_sampled_words_have_the_logits_of_the_reference(attention):
    model, processor = tiny_llava(attention=attention)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    length = inputs["input_ids"].shape[1]
    options = {"max_new_tokens": 5, "do_sample": True, "num_return_sequences": 2, "suppress_tokens": [3]}
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model.generate(**inputs, **options, output_logits=True, return_dict_in_generate=True)
    assert trace.kept[-1].shape == (2, 10) and torch.equal(trace.kept[-1][0], trace.kept[-1][1])
    assert not torch.equal(output.sequences[0], output.sequences[1])
    pixels = inputs["pixel_values"].expand(2, -1, -1, -1)
    expected = reference_logits(model, output.sequences, pixels, trace.kept)
    for step, logits in enumerate(output.logits):
        assert (logits - expected[:, length - 1 + step]).abs().max() < 1e-5


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_beams_have_the_scores_of_the_reference(attention):
    """Two prompts of unequal length, three beams each: caches are reordered at every step, kept sets never."""
    model, processor = tiny_llava(attention=attention)
    batch, singles = batch_of(processor, ["what?", "what is in this picture of noise?"])
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "num_beams": 3, "do_sample": False, "suppress_tokens": [3]}
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model.generate(**batch, **options, output_scores=True, return_dict_in_generate=True)
    assert trace.kept[-1].shape == (6, 10)
    for index, single in enumerate(singles):
        kept = [tokens[3 * index] for tokens in trace.kept]
        assert all(torch.equal(tokens[3 * index + 2], mine) for tokens, mine in zip(trace.kept, kept, strict=True))
        words = output.sequences[index, -4:]
        ids = torch.cat([single["input_ids"], words[None]], dim=1)
        # generate forbids tokens after the softmax, so their share of it stays lost.
        chances = reference_logits(model, ids, single["pixel_values"], kept)[0, -5:-1].log_softmax(-1)
        score = chances.gather(1, words[:, None]).mean()
        assert output.sequences_scores[index] == pytest.approx(float(score), abs=1e-5)


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


@pytest.mark.parametrize("kernel", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
@pytest.mark.parametrize("key_value_heads", [4, 2])
@pytest.mark.parametrize("method", ["fitprune", *slow("self-only", "cross-only", "last-token", "random")])
def test_counted_flops_are_the_projects_arithmetic(method, key_value_heads, kernel):
    model, processor = tiny_llava(num_key_value_heads=key_value_heads, grid=12)
    inputs = build_inputs(processor, random_picture(), "what is in this picture?")
    ids = inputs["input_ids"][0]
    visual = (ids == model.config.image_token_id).nonzero()[:, 0]
    removed = (30, 0, 60, 20)
    text, after = len(ids) - len(visual), len(ids) - 1 - int(visual[-1])
    with prune_visual_tokens(model, recipe_of(removed, 144), method=method), sdpa_kernel(kernel):
        counted = counted_flops(lambda: model(**inputs, logits_to_keep=1))
        known = tells_normaliser(model.config.text_config, model.device)
    assert known == (kernel is SDPBackend.FLASH_ATTENTION and key_value_heads == 4)
    expected = request_flops(
        model.config, removed, 144, text, after, 1, scores=METHODS[method].scores, normaliser_known=known
    )
    assert counted == pytest.approx(expected.total, rel=0.005)


def test_scores_are_computed_only_where_tokens_go(tiny, inputs):
    model, _ = tiny
    calls = []

    class Watched(METHODS["fitprune"]):
        name = "watched"

        def importance(self, attention, candidates):
            calls.append(candidates)
            return super().importance(attention, candidates)

    with prune_visual_tokens(model, recipe_of(), method=Watched()):
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
