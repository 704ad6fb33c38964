"""A model as people have it: compiled, in training, under autocast, with hooks of their own, called from within."""

import pytest
import torch

from fitprune_core import METHODS, build_inputs, collect_statistics, prune_visual_tokens
from tests.pruned import batch_of, recipe_of, state_of
from tests.reference import reference_logits
from tests.tiny import random_picture, tiny_llava


@pytest.fixture
def fresh():
    """A tiny model of one's own, and a prompt."""
    model, processor = tiny_llava(attention="sdpa")
    return model, build_inputs(processor, random_picture(), "what is this?")


# ---- torch.compile


COMPILE = {
    "model.compile()": lambda model: model.compile(backend="eager"),
    "model.forward": lambda model: setattr(model, "forward", torch.compile(model.forward, backend="eager")),
    "decoder.compile()": lambda model: model.get_decoder().compile(backend="eager"),
    "decoder": lambda model: setattr(
        model.model, "language_model", torch.compile(model.model.language_model, backend="eager")
    ),
    "a layer": lambda model: model.get_decoder().layers[2].compile(backend="eager"),
    "an attention": lambda model: model.get_decoder().layers[2].self_attn.compile(backend="eager"),
}


@pytest.fixture
def compiling():
    """Compiling begins anew, and nothing that was compiled outlives the test."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("way", COMPILE)
def test_a_compiled_model_is_pruned_and_left_compiled(fresh, compiling, way):
    model, inputs = fresh
    with prune_visual_tokens(model, recipe_of()) as trace:
        expected = model(**inputs).logits
        kept = trace.kept[-1].tolist()
    COMPILE[way](model)
    calls = [module._compiled_call_impl for module in model.modules()]
    before = state_of(model)
    with prune_visual_tokens(model, recipe_of()) as trace:
        assert torch.equal(model(**inputs).logits, expected)
        words = model.generate(**inputs, max_new_tokens=3)
    assert trace.kept[-1].tolist() == kept and words.shape[1] == inputs["input_ids"].shape[1] + 3
    assert state_of(model) == before
    assert [module._compiled_call_impl for module in model.modules()] == calls


@pytest.mark.slow
@torch.no_grad()
def test_a_wrapper_of_torch_compile_is_pruned_with_what_it_wraps(fresh, compiling):
    model, inputs = fresh
    before = state_of(model)
    compiled = torch.compile(model, backend="eager")
    forward = compiled.forward
    with prune_visual_tokens(compiled, recipe_of()) as trace:
        logits = compiled(**inputs).logits
        assert torch.equal(model(**inputs).logits, logits)
        assert compiled.generate(**inputs, max_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2
    assert compiled.forward is forward and state_of(model).keys() == before.keys()
    expected = reference_logits(model, inputs["input_ids"], inputs["pixel_values"], trace.kept)
    assert (logits[:, -1] - expected[:, -1]).abs().max() < 1e-5


@pytest.mark.slow
def test_statistics_of_a_compiled_model(fresh, compiling):
    model, _ = fresh
    processor = tiny_llava()[1]
    samples = [(random_picture(), "what is this?")]
    plain = collect_statistics(model, processor, samples)
    model.compile(backend="eager")
    model.get_decoder().layers[1].self_attn.compile(backend="eager")
    compiled = collect_statistics(model, processor, samples)
    assert compiled.self_attention.tolist() == plain.self_attention.tolist()


# ---- training, gradients, modes


def test_gradients_are_those_of_a_model_that_hides_what_was_dropped(fresh):
    model, inputs = fresh
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -5:] = inputs["input_ids"][:, -5:]
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs, labels=labels).loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    logits = reference_logits.__wrapped__(model, inputs["input_ids"], inputs["pixel_values"], trace.kept)
    torch.nn.functional.cross_entropy(logits[0, -6:-1], labels[0, -5:]).backward()
    expected = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert found.keys() == expected.keys() and any("vision_tower" in name for name in found)
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() < 1e-5 * max(1.0, float(gradient.abs().max())), name


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_every_gradient_mode(fresh, mode):
    model, inputs = fresh
    with torch.no_grad(), prune_visual_tokens(model, recipe_of()):
        expected = model(**inputs).logits
    with mode(), prune_visual_tokens(model, recipe_of()):
        logits = model(**inputs).logits
        assert model.generate(**inputs, max_new_tokens=3).shape[1] == inputs["input_ids"].shape[1] + 3
    assert torch.equal(logits.detach(), expected)
    assert logits.requires_grad == (mode is torch.enable_grad)


def test_training_with_dropout(fresh):
    model, inputs = fresh
    model.train()
    for layer in model.get_decoder().layers:
        layer.self_attn.attention_dropout = 0.5
    with prune_visual_tokens(model, recipe_of()) as trace:
        first, second = (model(**inputs).logits for _ in range(2))
        assert first.shape[1] == inputs["input_ids"].shape[1] - 26 and not torch.equal(first, second)
        assert [len(kept) for kept in trace.kept] == [31, 31, 19, 10]
        model.gradient_checkpointing_enable()
        with pytest.raises(ValueError, match="gradient checkpointing"):
            model(**inputs)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_autocast_scores_in_full_precision(attention, use_cache):
    model, processor = tiny_llava(attention=attention)
    inputs = build_inputs(processor, random_picture(), "what is this?")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(**inputs, use_cache=use_cache).logits
        with prune_visual_tokens(model, recipe_of()) as trace:
            logits = model(**inputs, use_cache=use_cache).logits
            model.generate(**inputs, max_new_tokens=3, use_cache=use_cache)
        with prune_visual_tokens(model, recipe_of((1, 0, 0, 0))):
            nearly = model(**inputs, use_cache=use_cache).logits
    assert logits.dtype == plain.dtype and [len(kept) for kept in trace.kept] == [31, 31, 19, 10]
    assert (nearly[:, -1] - plain[:, -1]).abs().max() < 0.2
    expected = reference_logits(model, inputs["input_ids"], inputs["pixel_values"], trace.kept)
    assert (logits[:, -1] - expected[:, -1]).abs().max() < 0.2


@torch.no_grad()
def test_autocast_does_not_reach_the_scores(fresh):
    """Products in half precision would show as scores of few digits."""
    model, inputs = fresh
    seen = []

    class Watching(METHODS["fitprune"]):
        name = "watching"

        def importance(self, attention, candidates):
            scores = super().importance(attention, candidates)
            with torch.autocast("cpu", enabled=False):
                seen.append((scores, super().importance(attention, candidates)))
            return scores

    with torch.autocast("cpu", dtype=torch.bfloat16), prune_visual_tokens(model, recipe_of(), method=Watching()):
        model(**inputs)
    assert len(seen) == 3 and all(torch.equal(found, exact) for found, exact in seen)


# ---- hooks and calls from within


@torch.no_grad()
def test_hooks_of_others_run_and_may_change_what_passes(fresh):
    model, inputs = fresh
    model(**inputs)
    layer = model.get_decoder().layers[2]
    seen = []

    def note(name):
        return lambda module, *rest: seen.append(name)

    modules = {"model": model, "llava": model.model, "layer": layer, "attention": layer.self_attn, "mlp": layer.mlp}
    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    handles.append(layer.register_forward_hook(lambda module, args, output: output * 2))
    try:
        before = state_of(model)
        with prune_visual_tokens(model, recipe_of()) as trace:
            logits = model(**inputs).logits
        assert state_of(model) == before
        assert seen == ["attention", "mlp", "layer", "llava", "model"]
        expected = reference_logits(model, inputs["input_ids"], inputs["pixel_values"], trace.kept)
        assert (logits[:, -1] - expected[:, -1]).abs().max() < 1e-5
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def test_the_model_without_its_head_is_pruned_alike(fresh):
    model, inputs = fresh
    with prune_visual_tokens(model, recipe_of()) as trace:
        logits = model(**inputs).logits
        kept = trace.kept[-1].tolist()
        output = model.model(**inputs, output_hidden_states=True)
    assert trace.kept[-1].tolist() == kept
    assert torch.equal(model.lm_head(output.last_hidden_state), logits)
    length = inputs["input_ids"].shape[1]
    assert [states.shape[1] for states in output.hidden_states] == [
        length, length - 5, length - 5, length - 17, length - 26,
    ]  # fmt: skip


@torch.no_grad()
def test_what_is_given_to_the_decoder_alone_runs_as_ever(fresh):
    model, inputs = fresh
    decoder = model.model.language_model
    embeddings = model.get_input_embeddings()(torch.arange(60, 141)[None])
    plain = decoder(inputs_embeds=embeddings).last_hidden_state
    alone = decoder.layers[2](
        embeddings, position_embeddings=decoder.rotary_emb(embeddings, torch.arange(81)[None]), attention_mask=None
    )
    with prune_visual_tokens(model, recipe_of()) as trace:
        model(**inputs)
        assert torch.equal(decoder(inputs_embeds=embeddings).last_hidden_state, plain)
        assert torch.equal(decoder(None, None, None, None, embeddings).last_hidden_state, plain)
        again = decoder.layers[2](
            embeddings, position_embeddings=decoder.rotary_emb(embeddings, torch.arange(81)[None]), attention_mask=None
        )
        assert torch.equal(again, alone)
        assert trace.num_visual_tokens == 36


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_decoder_alone_goes_on_with_a_pruned_cache(attention):
    model, processor = tiny_llava(attention=attention)
    batch, _ = batch_of(processor, ["what?", "what is in this picture of noise?"])
    word = torch.tensor([[70, 71], [72, 73]])
    mask = torch.cat([batch["attention_mask"], torch.ones_like(word)], dim=1)
    places = (mask.cumsum(1) - 1)[:, -2:]
    states = []
    with prune_visual_tokens(model, recipe_of()):
        for call in (model.model, model.model.language_model):
            cache = model(**batch, use_cache=True).past_key_values
            given = (
                {"input_ids": word} if call is model.model else {"inputs_embeds": model.get_input_embeddings()(word)}
            )
            states.append(call(**given, attention_mask=mask, position_ids=places, past_key_values=cache)[0])
    assert torch.equal(*states)
