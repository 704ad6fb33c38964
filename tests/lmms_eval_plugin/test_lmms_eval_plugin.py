"""The lmms-eval plugin without lmms-eval; `make bench-lmms` runs it inside."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fitprune_core.lmms_eval_plugin as plugin
from fitprune_core import build_inputs
from fitprune_core.checks.units import flops
from fitprune_core.cost.decoder import visual_flops, visual_reduction
from fitprune_core.cost.request import request_flops
from fitprune_core.lmms_eval_plugin.answering import Answerer, question_of
from fitprune_core.lmms_eval_plugin.arguments import Arguments
from fitprune_core.lmms_eval_plugin.decoding import MAX_NEW_TOKENS, decoding_of_task
from fitprune_core.lmms_eval_plugin.summary import Summary
from fitprune_core.models.layout import image_aspect
from fitprune_core.pruning.context import prune_visual_tokens
from fitprune_core.run.decoding import Decoding
from fitprune_core.run.generation import generate
from tests.memory import fill_memory_once
from tests.pruned import REMOVED, recipe_of, state_of
from tests.tiny import random_picture

ROOT = Path(__file__).resolve().parents[2]
PICTURE, QUESTION, PLACE = random_picture(), "what is in the picture?", "document 7 of gqa"
SHORT = Decoding(max_new_tokens=6)


@pytest.fixture
def answerer(tiny):
    return Answerer(*tiny, recipe_of(), "fitprune")


def reply_of(answerer, pictures, context, decoding, place):
    """The reply to one request alone."""
    ((_, reply),) = answerer.replies([answerer.ask(pictures, context, decoding, place)])
    return reply


def greedy(tiny, picture=PICTURE, question=QUESTION):
    model, processor = tiny
    inputs = build_inputs(processor, picture, question)
    return inputs, generate(model, processor.tokenizer, inputs, SHORT).token_ids[0]


def test_the_entry_point_is_declared_and_names_what_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["lmms_eval.models"] == {plugin.MODEL_NAME: f"{plugin.__name__}:manifest"}
    assert project["optional-dependencies"]["lmms"]
    assert "class FitPruneLlava(lmms)" in Path(plugin.__file__).with_name("model.py").read_text(encoding="utf-8")


def test_the_plugin_can_be_looked_up_without_torch():
    code = "import sys, fitprune_core.lmms_eval_plugin; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.slow
def test_the_library_and_the_plugin_need_no_lmms_eval():
    code = "import sys, fitprune_core.lmms_eval_plugin.summary; assert 'lmms_eval' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_arguments_as_a_command_gives_them():
    arguments = Arguments.from_given(
        {"pretrained": "mini-llava", "reduction": 0.6, "method": "fastv", "recipes": 7, "batch_size": "1"}
    )
    assert (arguments.reduction, arguments.method, arguments.recipes) == (0.6, "fastv", Path("7"))
    assert Arguments.from_given({"reduction": 0}).reduction == 0.0
    assert Arguments.from_given({"reduction": 0, "batch_size": "auto"}).batch_size == "auto"
    assert Arguments.from_given({"recipe": "r.json"}).recipe == Path("r.json")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "reduction=0.6 .* neither is given"),
        ({"reduction": 0.6, "recipe": "r.json"}, "both are given"),
        ({"reduction": 60}, "60; 60 % is written 0.6"),
        ({"reduction": 1}, "up to, but not including, 1, not 1"),
        ({"reduction": -0.1}, "not -0.1"),
        ({"reduction": True}, "not True"),
        ({"reduction": "half"}, "not 'half'"),
        ({"reduction": 0.6, "method": "magic"}, "method is 'magic'; choose one of fitprune"),
        ({"reduction": 0.6, "batch_size": 0}, "batch_size is 0; it must be a whole number from 1 up, or auto"),
        ({"reduction": 0.6, "batch_size": "most"}, "batch_size is 'most'"),
        ({"reduction": 0.6, "ratio": 3}, "model_args has ratio; known are attn_implementation, batch_size"),
    ],
)
def test_arguments_that_cannot_be(given, words):
    with pytest.raises(ValueError, match=words) as raised:
        Arguments.from_given(given)
    assert "\n" not in str(raised.value)


# What the tasks of the ten benchmarks ask for, in lmms-eval's yaml files and with what it fills in.
@pytest.mark.parametrize(
    ("options", "decoding"),
    [
        ({"max_new_tokens": 16, "until": ["\n\n"]}, Decoding(max_new_tokens=16)),
        ({"until": ["ASSISTANT:"]}, Decoding(until=("ASSISTANT:",))),
        (
            {"max_new_tokens": 1024, "temperature": 0.2, "top_p": 1.0, "num_beams": 1, "do_sample": False},
            Decoding(max_new_tokens=1024),
        ),
        ({"temperature": 0.0, "num_beams": 3, "until": "."}, Decoding(num_beams=3, until=(".",))),
        ({"temperature": 0.2, "top_p": 0.9, "until": None}, Decoding(temperature=0.2, top_p=0.9)),
        ({"do_sample": True, "top_k": 5}, Decoding(temperature=1.0, top_k=5)),
        # POPE and MathVerse; what only sampling looks at cannot matter, whatever it says.
        (
            {"max_new_tokens": 128, "temperature": 0, "top_p": 0, "num_beams": 1, "do_sample": False},
            Decoding(max_new_tokens=128),
        ),
        ({"do_sample": False, "temperature": -1, "top_k": 0, "top_p": 7}, Decoding(max_new_tokens=MAX_NEW_TOKENS)),
    ],
)
def test_generation_options(options, decoding):
    before = dict(options)
    if "max_new_tokens" not in options:
        decoding = replace(decoding, max_new_tokens=MAX_NEW_TOKENS)
    assert decoding_of_task(options) == (decoding, ())
    assert options == before


@pytest.mark.parametrize(
    ("options", "decoding", "words"),
    [
        # SEED-Bench and LLaVA-in-the-wild.
        ({"image_aspect_ratio": "original"}, Decoding(MAX_NEW_TOKENS), "image_aspect_ratio: 'original' has no effect"),
        ({"max_new_tokens": 5, "repetition_penalty": 1.2}, Decoding(5), "repetition_penalty: 1.2 has no effect"),
        ({"do_sample": True, "temperature": 0}, Decoding(MAX_NEW_TOKENS), "the likeliest token is taken"),
    ],
)
def test_generation_options_that_might_matter_are_warned_about(options, decoding, words):
    found, (warning,) = decoding_of_task(options)
    assert found == decoding
    assert words in warning


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be a whole number from 1 up"),
        ({"num_beams": 1.5}, "num_beams is 1.5"),
        ({"until": ["."], "temperature": -1}, "temperature is -1; it must be a number from 0 up"),
        ({"do_sample": "yes"}, "do_sample is 'yes'"),
        ({"top_p": 0, "do_sample": True}, "top_p is 0"),
        ({"until": [1]}, r"until is \[1\]"),
    ],
)
def test_generation_options_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        decoding_of_task(options)


def test_text_ends_before_the_first_stop_string():
    assert Decoding(until=("ASSISTANT:", ".")).cut(" a cat. ASSISTANT: b") == "a cat"
    assert Decoding().cut(" a cat\n") == "a cat"


def test_a_pruned_reply_is_what_the_library_generates(tiny, answerer):
    model, processor = tiny
    greedy(tiny)  # transformers hooks its vision tower at the first call
    before = state_of(model)
    reply = reply_of(answerer, [PICTURE], QUESTION, SHORT, PLACE)
    with prune_visual_tokens(model, recipe_of()):
        inputs, token_ids = greedy(tiny)
    assert reply.text == processor.tokenizer.decode(token_ids, skip_special_tokens=True).strip()
    assert (reply.prompt_tokens, reply.new_tokens) == (inputs["input_ids"].shape[1], len(token_ids))
    assert token_ids != greedy(tiny)[1]  # so that a run without pruning would show
    assert state_of(model) == before


def test_without_a_budget_the_model_is_as_it_is(tiny):
    reply = reply_of(Answerer(*tiny, None, "fitprune"), [PICTURE], QUESTION, SHORT, PLACE)
    assert reply.text == tiny[1].tokenizer.decode(greedy(tiny)[1], skip_special_tokens=True).strip()
    assert reply.cost.achieved_reduction == 0.0


def test_what_a_reply_cost(tiny, answerer):
    config = tiny[0].config
    reply = reply_of(answerer, [PICTURE], QUESTION, SHORT, PLACE)
    text = reply.prompt_tokens - 36
    after = text - len(tiny[1].tokenizer("USER: ")["input_ids"])
    assert reply.cost.visual_tokens == 36
    assert reply.cost.achieved_reduction == visual_reduction(config, REMOVED, 36)
    assert reply.cost.visual == visual_flops(config, REMOVED, 36)
    expected = request_flops(config, REMOVED, 36, text, after, reply.new_tokens)
    assert reply.cost.request == expected


@pytest.mark.parametrize("pictures", [None, []])
def test_a_document_without_a_picture_is_a_text_prompt(tiny, answerer, pictures):
    reply = reply_of(answerer, pictures, QUESTION, SHORT, PLACE)
    inputs, token_ids = greedy(tiny, picture=None)
    assert reply.text == tiny[1].tokenizer.decode(token_ids, skip_special_tokens=True).strip()
    assert (reply.cost.visual_tokens, reply.cost.achieved_reduction, reply.cost.visual) == (0, None, 0)
    assert reply.cost.request.vision_tower == 0
    assert reply.prompt_tokens == inputs["input_ids"].shape[1]


@pytest.mark.parametrize(
    ("pictures", "context", "words"),
    [
        ([PICTURE, PICTURE], QUESTION, f"{PLACE} has 2 pictures"),
        (["clip.mp4"], QUESTION, f"{PLACE} comes with a str"),
        ([PICTURE], "compare <image> with it", f"{PLACE} has <image> where"),
        ([PICTURE], "<image><image>compare", f"{PLACE} has <image> where"),
        ([], "<image>\nwhat?", f"{PLACE} has <image> where"),
        ([PICTURE], "x" * 5000, f"{PLACE}: the prompt has 50.* the model reads 4096"),
    ],
)
def test_requests_that_are_refused(answerer, pictures, context, words):
    with pytest.raises(ValueError, match=words):
        answerer.ask(pictures, context, SHORT, PLACE)


def test_a_marker_in_front_is_the_picture_of_the_template(answerer):
    assert question_of("<image>\nwhat?", True, "<image>", PLACE) == "what?"
    assert question_of("what?\n<image>", True, "<image>", PLACE) == "what?"
    assert question_of("<image>\nwhat?", True, "<|image_pad|>", PLACE) == "what?"
    marked, plain = (reply_of(answerer, [PICTURE], text, SHORT, PLACE) for text in (f"<image>\n{QUESTION}", QUESTION))
    assert replace(marked, seconds=0.0) == replace(plain, seconds=0.0)


def test_generation_stops_at_a_stop_string(answerer):
    whole = reply_of(answerer, [PICTURE], QUESTION, Decoding(max_new_tokens=12), PLACE)
    stop = next(character for character in whole.text[1:] if character.isascii() and character.isalpha())
    stopped = reply_of(answerer, [PICTURE], QUESTION, Decoding(max_new_tokens=12, until=(stop,)), PLACE)
    assert stopped.text == whole.text.partition(stop)[0].strip()
    assert stopped.new_tokens < whole.new_tokens


@pytest.mark.parametrize(
    ("decoding", "options"),
    [
        (replace(SHORT, num_beams=3), {"num_beams": 3}),
        (replace(SHORT, temperature=2.0, top_p=0.9), {"do_sample": True, "temperature": 2.0, "top_p": 0.9, "top_k": 0}),
    ],
)
def test_beams_and_sampling_are_pruned_too(tiny, answerer, decoding, options):
    model, processor = tiny
    inputs = build_inputs(processor, PICTURE, QUESTION)
    torch.manual_seed(1)
    reply = reply_of(answerer, [PICTURE], QUESTION, decoding, PLACE)
    torch.manual_seed(1)
    with prune_visual_tokens(model, recipe_of()):
        ids = model.generate(**inputs, max_new_tokens=6, **options)[0, inputs["input_ids"].shape[1] :]
    assert reply.text == processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert reply.cost.visual == visual_flops(model.config, REMOVED, 36)


@pytest.mark.slow
def test_loading_by_arguments(tiny_folder, tmp_path):
    path = tmp_path / "recipe.json"
    recipe_of(model="tiny-llava").save(path)
    pruned = Answerer.load(Arguments(pretrained=str(tiny_folder), recipe=path), "cpu")
    assert pruned.recipe.removed == REMOVED
    assert Answerer.load(Arguments(pretrained=str(tiny_folder), reduction=0), "cpu").recipe is None
    padding = Answerer.load(Arguments(pretrained=str(tiny_folder), reduction=0, image_aspect="pad"), "cpu")
    assert image_aspect(padding.model.config, padding.processor) == "pad"
    with pytest.raises(ValueError, match="quantization is '3bit'"):
        Answerer.load(Arguments(pretrained=str(tiny_folder), reduction=0, quantization="3bit"), "cpu")
    with pytest.raises(ValueError, match="no statistics of tiny-llava"):
        Answerer.load(Arguments(pretrained=str(tiny_folder), reduction=0.5, recipes=tmp_path), "cpu")
    with pytest.raises(ValueError, match=r"cannot read recipe .*missing\.json"):
        Answerer.load(Arguments(pretrained="nowhere", recipe=tmp_path / "missing.json"), "cpu")
    with pytest.raises(ValueError, match="has 3 layers"):
        Answerer(pruned.model, pruned.processor, recipe_of((1, 2, 3)), "fitprune")


def test_costs_are_summed_by_task_and_over_processes(answerer):
    replies = [
        reply_of(answerer, pictures, QUESTION, SHORT, PLACE) for pictures in ([PICTURE], [random_picture(30, 60)], [])
    ]
    ranks = [Summary(), Summary()]
    for number, reply in enumerate(replies):
        ranks[number % 2].add("gqa", reply)
    ranks[1].add("mme", replies[0])
    whole = Summary.of_all(ranks)
    means = whole.tasks["gqa"].means()
    seen = replies[:2]
    assert means["visual_gflops"] == pytest.approx(sum(reply.cost.visual for reply in seen) / 2e9)
    assert means["total_gflops"] == pytest.approx(sum(reply.cost.request.total for reply in seen) / 2e9)
    assert means["visual_reduction"] == pytest.approx(sum(reply.cost.achieved_reduction for reply in seen) / 2)
    assert whole.lines() == [f"{task}: {sums.describe()}" for task, sums in whole.tasks.items()]
    assert whole.lines()[0].startswith(f"gqa: 3 answers; {means['visual_reduction']:.2%} of visual FLOPs saved, ")
    assert f" {flops(means['visual_gflops'])} visual and {flops(means['total_gflops'])} total FLOPs" in whole.lines()[0]
    assert whole.lines()[0].endswith("; 1 without a picture, which no average counts")
    figures = whole.metrics()
    assert figures["total_gen_tokens"] == sum(reply.new_tokens for reply in [*replies, replies[0]])
    assert figures["additional_metrics"]["total_requests"] == 4
    assert figures["additional_metrics"]["visual_gflops_gqa"] == means["visual_gflops"]


def test_a_task_without_pictures_has_no_visual_figures(answerer):
    summary = Summary()
    summary.add("text", reply_of(answerer, [], QUESTION, SHORT, PLACE))
    assert summary.lines() == ["text: 1 answers; 1 without a picture, which no average counts"]
    assert set(summary.metrics()["additional_metrics"]) == {"total_requests"}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, "auto"])
def test_replies_in_batches_are_those_of_each_alone(tiny, size):
    asked = [
        (pictures, text, decoding)
        for text in (QUESTION, "which colour?", "why is it there, and who put it there?")
        for pictures in ([PICTURE], [random_picture(30, 60, seed=3)], [])
        for decoding in (SHORT, replace(SHORT, until=("e", "a")), replace(SHORT, num_beams=2))
    ]
    one, several = (Answerer(*tiny, recipe_of(), "fitprune", count) for count in (1, size))
    alone = [reply_of(one, *request, PLACE) for request in asked]
    requests = [several.ask(*request, PLACE, number) for number, request in enumerate(asked)]
    found = {request.number: reply for request, reply in several.replies(requests)}
    assert [replace(found[number], seconds=0.0) for number in range(len(asked))] == [
        replace(reply, seconds=0.0) for reply in alone
    ]
    # Those of one kind went together: they share their seconds.
    assert len({reply.seconds for reply in found.values()}) < len(asked)


@pytest.mark.slow
def test_memory_that_runs_out_halves_a_batch_of_requests(tiny, monkeypatch):
    answerer = Answerer(*tiny, recipe_of(), "fitprune", 4)
    requests = [answerer.ask([random_picture(seed=seed)], QUESTION, SHORT, PLACE, seed) for seed in range(4)]
    expected = {request.number: reply.text for request, reply in answerer.replies(requests)}
    fill_memory_once(monkeypatch)
    assert {request.number: reply.text for request, reply in answerer.replies(requests)} == expected
