"""Every way to generate: right, or refused with a sentence, however it is asked for."""

import copy
import weakref

import pytest
import torch
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import QuantizedLayer, StaticCache

from fitprune_core import build_inputs, prune_visual_tokens
from tests.marks import slow
from tests.pruned import batch_of, recipe_of, state_of
from tests.reference import reference_logits
from tests.tiny import random_picture, tiny_llava

pytestmark = pytest.mark.usefixtures("no_grad")

GREEDY = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}


def new_words(output, inputs):
    return output.sequences[:, inputs["input_ids"].shape[1] :]


def assert_reference(model, inputs, output, kept, sequences=None):
    """Each step's logits are those of a plain model that hides what was dropped."""
    sequences = output.sequences if sequences is None else sequences
    first = sequences.shape[1] - len(output.logits) - 1
    pixels = inputs["pixel_values"].expand(len(sequences), -1, -1, -1)
    expected = reference_logits(model, sequences, pixels, kept)
    for step, logits in enumerate(output.logits):
        assert (logits - expected[:, first + step]).abs().max() < 1e-5


# ---- what is refused


REFUSED = {
    "prefill_chunk_size": (8, "in chunks"),
    "prompt_lookup_num_tokens": (3, "prompt lookup"),
    "assistant_early_exit": (2, "assisted generation"),
    "is_assistant": (True, "assists another"),
    "penalty_alpha": (0.6, "contrastive search"),
    "dola_layers": ("high", "DoLa"),
    "num_beam_groups": (2, "groups of beams"),
    "force_words_ids": ([[70]], "constrained beams"),
    "cache_implementation": ("static", "static cache"),
}


@pytest.mark.parametrize("way", ["keyword", *slow("configuration", "position", "nothing", "own")])
@pytest.mark.parametrize("name", REFUSED)
def test_ways_that_do_not_suit_are_refused_however_asked(inputs, name, way):
    value, words = REFUSED[name]
    model, _ = tiny_llava(num_layers=2)
    model(**inputs)
    before, rest = state_of(model), dict(inputs)
    config = GenerationConfig(**{name: value})
    with prune_visual_tokens(model, recipe_of((5, 9))), pytest.raises(ValueError, match=words):
        if way == "keyword":
            model.generate(**rest, **{name: value})
        elif way == "configuration":
            model.generate(**rest, generation_config=config)
        elif way == "position":
            model.generate(rest.pop("input_ids"), config, **rest)
        elif way == "nothing":
            model.generate(None, **rest, **{name: value})
        else:
            model.generation_config = config
            model.generate(**rest)
    assert state_of(model) == before


def test_other_ways_that_do_not_suit(tiny, inputs):
    model, _ = tiny
    text = model.config.get_text_config()
    with prune_visual_tokens(model, recipe_of()):
        with pytest.raises(ValueError, match="assisted generation"):
            model.generate(**inputs, assistant_model=model)
        with pytest.raises(ValueError, match="code from elsewhere"):
            model.generate(**inputs, custom_generate="somebody/loop", trust_remote_code=True)
        with pytest.raises(ValueError, match="continuous batching"):
            model.generate(**inputs, cache_implementation="paged")
        with pytest.raises(ValueError, match="continuous batching"):
            model.generate_batch([inputs["input_ids"][0].tolist()])
        with pytest.raises(ValueError, match="static cache"):
            model(**inputs, past_key_values=StaticCache(config=text, max_cache_len=90))


def test_what_is_switched_off_by_keyword_counts_as_off(inputs):
    model, _ = tiny_llava(num_layers=2)
    model.generation_config.prompt_lookup_num_tokens = 3
    with prune_visual_tokens(model, recipe_of((5, 9))) as trace:
        output = model.generate(**inputs, prompt_lookup_num_tokens=None, **GREEDY)
    assert_reference(model, inputs, output, trace.kept)


def test_a_prompt_of_text_may_be_continued_in_any_way(tiny):
    model, processor = tiny
    text = build_inputs(processor, None, "what is this? what is this?")
    for options in ({"prompt_lookup_num_tokens": 2}, {"cache_implementation": "static"}):
        plain = model.generate(**text, max_new_tokens=4, do_sample=False, **options)
        with prune_visual_tokens(model, recipe_of()):
            assert torch.equal(model.generate(**text, max_new_tokens=4, do_sample=False, **options), plain)


# ---- what works


def test_ids_and_configuration_by_position(tiny, inputs):
    model, _ = tiny
    with prune_visual_tokens(model, recipe_of()) as trace:
        expected = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        config = GenerationConfig(max_new_tokens=4, do_sample=False)
        found = model.generate(inputs["input_ids"], config, pixel_values=inputs["pixel_values"])
        assert trace.num_visual_tokens == 36
        logits = model(inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"]).logits
        inner = model.model(inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"]).last_hidden_state
    assert torch.equal(found, expected)
    assert logits.shape[1] == inner.shape[1] == inputs["input_ids"].shape[1] - 26


def test_a_cache_by_position(tiny, inputs):
    model, _ = tiny
    length, cache = inputs["input_ids"].shape[1], DynamicCache()
    with prune_visual_tokens(model, recipe_of()):
        model(inputs["input_ids"], inputs["pixel_values"], None, None, cache)
        assert [layer.keys.shape[2] for layer in cache.layers] == [length, length - 5, length - 5, length - 17]
        with pytest.raises(ValueError, match="filled cache"):
            model(inputs["input_ids"], inputs["pixel_values"], None, None, cache)


def test_embeddings_of_the_placeholders(tiny, inputs):
    model, _ = tiny
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    with prune_visual_tokens(model, recipe_of()) as trace:
        expected = model.generate(**inputs, **GREEDY)
        kept = trace.kept
        for ids in ({}, {"input_ids": inputs["input_ids"]}):
            found = model.generate(inputs_embeds=embeddings, **ids, **rest, **GREEDY)
            assert torch.equal(torch.stack(found.logits), torch.stack(expected.logits))
            assert all(torch.equal(a, b) for a, b in zip(trace.kept, kept, strict=True))
        logits = model(inputs_embeds=embeddings, **rest).logits
    assert (logits[:, -1] - expected.logits[0]).abs().max() < 1e-5


def test_embeddings_that_hide_their_picture_are_refused(tiny, inputs):
    model, _ = tiny
    embeddings = model.get_input_embeddings()(inputs["input_ids"]) * 1.5
    with prune_visual_tokens(model, recipe_of()), pytest.raises(ValueError, match="no placeholder of an image"):
        model.generate(inputs_embeds=embeddings, max_new_tokens=2)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}])
def test_without_a_cache_every_step_drops_what_the_first_dropped(attention, options):
    model, processor = tiny_llava(attention=attention)
    batch, _ = batch_of(processor, ["?", "what is in this picture of noise?"])
    # Short questions, so that each new word would change the ranking.
    options = {**GREEDY, "suppress_tokens": [3], "output_scores": True, **options}
    outputs, traces = [], []
    with prune_visual_tokens(model, recipe_of()) as trace:
        for use_cache in (True, False):
            torch.manual_seed(0)
            outputs.append(model.generate(**batch, **options, use_cache=use_cache))
            traces.append(list(trace.kept))
    assert torch.equal(outputs[0].sequences, outputs[1].sequences)
    assert all(torch.equal(a, b) for a, b in zip(*traces, strict=True))
    for cached, uncached in zip(outputs[0].logits, outputs[1].logits, strict=True):
        assert (cached - uncached).abs().max() < 1e-5


def test_calls_of_ones_own_without_a_cache_are_new_prompts(tiny):
    model, processor = tiny
    text = "<image>?"
    first, second = (processor(text=text, images=[random_picture(seed=seed)], return_tensors="pt") for seed in (1, 2))
    with prune_visual_tokens(model, recipe_of()) as trace:
        kept = []
        for prompt in (first, second, first):
            model(**prompt, use_cache=False)
            kept.append(trace.kept[-1].tolist())
    assert kept[0] == kept[2] != kept[1]


@pytest.mark.parametrize("options", [{}, {"negative": True}, {"use_cache": False}])
def test_guidance_leaves_the_trace_and_guides(tiny, inputs, options):
    model, processor = tiny
    options = dict(options)
    other = torch.tensor([processor.tokenizer.encode("nothing")])
    negative = {"negative_prompt_ids": other} if options.pop("negative", False) else {}
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs)
        kept = list(trace.kept)
        output = model.generate(**inputs, **GREEDY, **options, **negative, guidance_scale=1.5)
    assert trace.num_visual_tokens == 36
    assert all(torch.equal(a, b) for a, b in zip(trace.kept, kept, strict=True))
    assert_reference(model, inputs, output, kept)
    words = new_words(output, inputs)
    aside = other if negative else inputs["input_ids"][:, -1:]
    for step, logits in enumerate(output.logits):
        ids = torch.cat([aside, words[:, :step]], dim=1)
        free = model(input_ids=ids).logits[:, -1].log_softmax(-1)
        guided = 1.5 * (logits.log_softmax(-1) - free) + free
        assert guided.argmax(-1).item() == words[0, step].item()


@pytest.mark.parametrize("options", [{"top_k": 5}, {"top_p": 0.8, "temperature": 1.3}, {"num_beams": 3}])
def test_sampling_with_beams_and_options(tiny, inputs, options):
    model, _ = tiny
    given = {**GREEDY, "do_sample": True, "suppress_tokens": [3], **options}
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model.generate(**inputs, **given, num_return_sequences=2)
    assert trace.kept[-1].shape[-1] == 10
    if "num_beams" not in options:
        assert_reference(model, inputs, output, trace.kept)


# ---- caches


class _PlainQuantized(QuantizedLayer):
    """A quantised layer that loses nothing: what is quantised is put aside, and comes back as it was."""

    def _quantize(self, tensor, axis):
        return tensor.clone()

    def _dequantize(self, tensor):
        return tensor


@pytest.mark.parametrize("kind", ["quantised", "own"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_other_caches_of_growing_length(kind, attention):
    model, processor = tiny_llava(attention=attention)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    cache = DynamicCache()
    if kind == "quantised":
        cache = DynamicCache(config=model.config.text_config)
        cache.layers = [_PlainQuantized(residual_length=2) for _ in range(4)]
    with prune_visual_tokens(model, recipe_of()) as trace:
        output = model.generate(**inputs, **GREEDY, past_key_values=cache)
    assert_reference(model, inputs, output, trace.kept)


def test_a_pruned_cache_ends_with_its_block(tiny, inputs):
    model, _ = tiny
    word, cache = torch.tensor([[70]]), DynamicCache()
    with prune_visual_tokens(model, recipe_of()):
        first = model.generate(**inputs, **GREEDY, past_key_values=cache)
        assert first.past_key_values is cache
    ids = torch.cat([first.sequences, word], dim=1)
    for use in (
        lambda: model(input_ids=word, past_key_values=cache),
        lambda: model.generate(ids, past_key_values=cache, max_new_tokens=2),
    ):
        with pytest.raises(ValueError, match="pruned in a block that has ended"):
            use()
        with prune_visual_tokens(model, recipe_of()), pytest.raises(ValueError, match="pruned outside this block"):
            use()
    cache.reset()
    with prune_visual_tokens(model, recipe_of()):
        again = model.generate(**inputs, **GREEDY, past_key_values=cache)
    assert torch.equal(again.sequences, first.sequences)


@pytest.mark.parametrize("method", ["fitprune", "random:schedule=before"])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_pruned_cache_ends_with_the_block_too(tiny, inputs, make, method):
    model, _ = tiny
    word, cache = torch.tensor([[70]]), DynamicCache()
    with prune_visual_tokens(model, recipe_of(), method=method):
        model(**inputs, past_key_values=cache)
        within = make(cache)
    for copied in (within, make(within), make(cache)):
        with pytest.raises(ValueError, match="pruned in a block that has ended"):
            model(input_ids=word, past_key_values=copied)
    assert [layer.keys.shape[2] for layer in within.layers] == [layer.keys.shape[2] for layer in cache.layers]


def test_a_pruned_cache_that_was_emptied_is_a_new_one(tiny, inputs):
    model, _ = tiny
    cache = DynamicCache()
    with prune_visual_tokens(model, recipe_of()):
        model(**inputs, past_key_values=cache)
    cache.reset()
    assert torch.equal(model(**inputs, past_key_values=cache).logits, model(**inputs).logits)


def test_a_pruned_cache_goes_with_the_last_who_holds_it(tiny, inputs):
    """Without waiting for the collector of garbage: it may hold gigabytes on a device."""
    model, _ = tiny
    with torch.no_grad(), prune_visual_tokens(model, recipe_of()):
        cache = model(**inputs, use_cache=True).past_key_values
        held = weakref.ref(cache)
        del cache
        assert held() is None


def test_a_pruned_cache_that_was_copied_cut_or_repeated_is_refused(tiny, inputs):
    model, _ = tiny
    word = torch.tensor([[70]])
    with prune_visual_tokens(model, recipe_of()):
        cache = model(**inputs, use_cache=True).past_key_values
        with pytest.raises(ValueError, match="or copied"):
            model(input_ids=word, past_key_values=copy.deepcopy(cache))
        expected = model(input_ids=word, past_key_values=cache).logits
        cache.crop(-1)
        assert torch.equal(model(input_ids=word, past_key_values=cache).logits, expected)
        cache.batch_repeat_interleave(2)
        mask = torch.ones(2, inputs["input_ids"].shape[1] + 2, dtype=torch.long)
        with pytest.raises(ValueError, match="mask is of 2 prompts.*filled by 1"):
            model(input_ids=word.expand(2, -1), attention_mask=mask, past_key_values=cache)
        cache.crop(-3)
        with pytest.raises(ValueError, match="cut into its prompt"):
            model(input_ids=word, past_key_values=cache)


def test_a_prompt_that_broke_off_leaves_no_cache_to_go_on_with(tiny, inputs):
    model, _ = tiny
    cache = DynamicCache()
    mlp = model.get_decoder().layers[2].mlp
    with prune_visual_tokens(model, recipe_of()):
        handle = mlp.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            model(**inputs, past_key_values=cache)
        handle.remove()
        with pytest.raises(ValueError, match="never ran to its end"):
            model(input_ids=torch.tensor([[70]]), past_key_values=cache)
        assert model(**inputs).logits.shape[1] == inputs["input_ids"].shape[1] - 26
