"""`compare` on the command line: what it prints, and one line with exit status 2 for whatever cannot be."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from fitprune_core import AttentionStatistics, PruningRecipe
from fitprune_core.cli.main import main
from fitprune_core.evaluation.known import Known
from fitprune_core.evaluation.sureness import Sureness
from tests.cli.conftest import complaint
from tests.memory import fill_memory_once

pytestmark = pytest.mark.usefixtures("one_round")

RUN_KEYS = ["answer", "new_tokens", "prefill_ms", "decode_ms", "visual_gflops", "total_gflops", "kv_cache_bytes"]


@pytest.mark.slow
def test_compare_prints_one_json_object(compare, capsys):
    assert compare(json=True) == 0
    captured = capsys.readouterr()
    entries = json.loads(captured.out)
    assert captured.out.count("\n") == 1
    assert captured.err == ""
    assert list(entries)[:5] == ["model", "reduction", "achieved_reduction", "removed", "kept"]
    assert list(entries["original"])[:7] == list(entries["pruned"])[:7] == RUN_KEYS
    assert entries["reduction"] == 0.5
    assert sum(entries["removed"]) > 0


@pytest.mark.slow
def test_compare_prints_a_table(compare, capsys):
    assert compare(method="random") == 0
    table = capsys.readouterr().out
    for words in ("visual FLOPs", "prefill", "KV cache", "ranked by random", "Times: "):
        assert words in table
    prefill = next(line for line in table.splitlines() if line.startswith("prefill "))
    assert "%" not in prefill
    assert any(words in prefill for words in ("no measurable difference", "faster (", "slower (", "too few"))


@pytest.mark.slow
def test_the_answers_are_printed_before_the_times_are_measured(compare, capsys, monkeypatch):
    """The terminal has them while the model is still being timed; as JSON all comes at once."""
    from fitprune_core.run import comparison

    said, measure = [], comparison.paired_rounds

    def measured(*arguments, **options):
        """On the model's thread: the terminal's has what it needs already, and may take a moment to print it."""
        until, text = time.monotonic() + (0 if said else 10), ""
        while not text and time.monotonic() < until:
            time.sleep(0.01)
            text += capsys.readouterr().out
        said.append(text)
        return measure(*arguments, **options)

    monkeypatch.setattr(comparison, "paired_rounds", measured)
    assert compare() == 0
    after = capsys.readouterr().out
    assert "question  What is this?" in said[0] and "original  " in said[0] and "Times: " not in said[0]
    assert "Times: " in after and "question" not in after
    assert compare(json=True) == 0
    assert said[1] == ""


@pytest.mark.slow
def test_an_unsure_answer_is_called_so(compare, capsys, tmp_path, monkeypatch):
    """An untrained model is never sure; an evaluation of its weights says how often that is a changed answer."""
    assert compare(json=True) == 0
    margin = json.loads(capsys.readouterr().out)["pruned"]["margin"]
    assert compare() == 0
    lead = (
        f"\npruned    Unsure: its least sure token leads the next likeliest by {100 * margin:.0f} points of probability"
    )
    assert f"{lead}.\n" in capsys.readouterr().out
    known = Known(sureness=(Sureness("fitprune", 0.5, (0.01,) * 50, (True,) * 40 + (False,) * 10),))
    monkeypatch.setattr("fitprune_core.evaluation.known.read_known", lambda name, weights, recipes: known)
    assert compare() == 0
    said = f"{lead}. Of 50 answers as sure, 40 were not the original's (evaluation, fitprune 50 %).\n"
    assert said in capsys.readouterr().out


def test_a_share_for_no_way_is_refused(compare, capsys):
    assert compare(against_reduction=0.4) == 2
    assert "--against-reduction 0.4 goes with --against, which is original" in complaint(capsys)


def test_a_second_budget_that_cannot_be_is_refused_by_its_option(compare, capsys, place, tmp_path):
    """A recipe file is named already, and there is none to name for the first way."""
    options = {"reduction": None, "recipe": place / "recipe.json", "against": "fitprune", "recipes": tmp_path}
    assert compare(**options, against_reduction=0.3) == 2
    words = complaint(capsys)
    assert "--against-reduction 0.3: there are no statistics of " in words
    assert words.endswith("statistics.npz with `python -m fitprune_core calibrate`\n")
    assert compare(recipes=tmp_path) == 2
    assert complaint(capsys).endswith("calibrate`, or name a recipe file\n")


@pytest.mark.slow
def test_compare_takes_another_first_way(compare, capsys):
    assert compare(against="random:seed=2", json=True) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["against"]["method"] == "random(seed=2)" and entries["method"] == "fitprune"
    assert entries["original"]["visual_gflops"] == entries["pruned"]["visual_gflops"]
    assert compare(against="fitprune", against_reduction=0.2) == 0
    table = capsys.readouterr().out
    assert table.count("ranked by fitprune") == 2 and "(20.0% asked)" in table and "original" not in table


@pytest.mark.slow
def test_compare_keeps_and_drops_what_it_is_told_to(compare, capsys):
    assert compare(json=True) == 0
    before = json.loads(capsys.readouterr().out)
    stay, go = before["dropped_after"].index(min(before["dropped_after"])), before["kept"][-1][0]
    assert compare(stay=stay, go=go, json=True) == 0
    after = json.loads(capsys.readouterr().out)
    assert (after["stay"], after["go"]) == ([stay], [go]) and after["removed"] == before["removed"]
    assert stay in after["kept"][-1] and stay not in before["kept"][-1] and go not in after["kept"][-1]
    assert compare(stay=stay, go=go) == 0
    assert f"painted   stay: {stay}; go first: {go}" in capsys.readouterr().out


@pytest.mark.slow
def test_compare_takes_a_recipe_file(compare, place, capsys):
    assert compare(reduction=None, recipe=place / "recipe.json", json=True) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["removed"] == list(PruningRecipe.load(place / "recipe.json").removed)


@pytest.mark.slow
def test_nothing_is_pruned_at_zero(compare, capsys):
    assert compare(reduction=0, json=True) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["agree"] is True
    assert entries["removed"] == [0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduction": "-1"}, "must be a share from 0 up to, but not including, 1, not -1.0"),
        ({"reduction": "60"}, "60 % is written 0.6"),
        ({"reduction": "1"}, "not including, 1"),
        ({"reduction": "nan"}, "not nan"),
        ({"reduction": "much"}, "'much' is not a number"),
        ({"reduction": None}, "one of the arguments --reduction --recipe is required"),
        ({"question": " "}, "the question is empty"),
        ({"question": "x" * 100_000}, "100,000 characters"),
        ({"image": "missing.png"}, "there is no file missing.png"),
        ({"image": "."}, "is a folder"),
        ({"model": "no-such-folder"}, "no-such-folder"),
        ({"method": "guess"}, "guess"),
        ({"against": "guess"}, "guess"),
        ({"stay": "x"}, "'x' is not the number of a visual token"),
        ({"go": "5000"}, "visual token 5000 must go first"),
        ({"against_reduction": "2"}, "not including, 1"),
        ({"max_new_tokens": "0"}, "'0' is not a whole number from 1 up"),
        ({"device": "toaster"}, "toaster"),
        ({"dtype": "int3"}, "int3"),
        ({"image_aspect": "wide"}, "image_aspect is 'wide'; use auto, crop, pad"),
        ({"attn": "flex"}, "attn_implementation is 'flex'"),
        ({"attn": "flash_attention_2", "device": "cpu"}, "flash_attention_2 needs a CUDA device"),
        ({"quantize": "2bit"}, "quantization is '2bit'"),
        ({"quantize": "4bit", "device": "cpu"}, "4bit weights need a CUDA device"),
        ({"recipes": "."}, "there are no statistics of tiny-llava in ."),
    ],
)
def test_bad_input_of_compare(compare, capsys, options, words):
    assert compare(**options) == 2
    assert words in complaint(capsys)


def test_bad_files_are_named(compare, place, tmp_path, capsys):
    assert compare(image=place / "notes.png") == 2
    assert f"{place / 'notes.png'} is not a picture" in complaint(capsys)
    assert compare(reduction=None, recipe=place / "samples.jsonl") == 2
    assert "samples.jsonl" in complaint(capsys)
    entries = json.loads((place / "recipe.json").read_text())
    deeper = tmp_path / "deeper.json"
    deeper.write_text(json.dumps(entries | {"num_layers": 5, "removed": [1] * 5}))
    assert compare(reduction=None, recipe=deeper) == 2
    assert "has 5 layers; tiny-llava has 4" in complaint(capsys)
    deeper.write_text(json.dumps(entries | {"removed": [-1, 0, 0, 0]}))
    assert compare(reduction=None, recipe=deeper) == 2
    assert "removed[0] is -1" in complaint(capsys)


@pytest.mark.slow
def test_recipe_of_another_checkpoint_is_used_with_a_warning(compare, place, tmp_path, capsys, caplog):
    entries = json.loads((place / "recipe.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(entries | {"model": "another-llava"}))
    assert compare(reduction=None, recipe=tmp_path / "other.json", json=True) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "the recipe was fitted on another-llava and is applied to tiny-llava"
    ]


@pytest.mark.slow
def test_image_aspect_is_recorded_and_a_recipe_of_another_is_warned_about(compare, capsys, caplog):
    assert compare(json=True) == 0
    entries = json.loads(capsys.readouterr().out)
    assert (entries["aspect"], entries["warnings"], caplog.records) == ("crop", [], [])
    assert entries["seen"] == [6, 0, 42, 36]
    assert compare(json=True, image_aspect="pad") == 0
    entries = json.loads(capsys.readouterr().out)
    warning = "the recipe was fitted on pictures of aspect 'crop'; this model gets them as 'pad'"
    assert (entries["aspect"], entries["seen"]) == ("pad", [0, 0, 48, 36])
    assert entries["warnings"] == [warning] == [record.getMessage() for record in caplog.records]


@pytest.mark.slow
def test_statistics_of_another_model_are_refused(compare, place, tiny_folder, tmp_path, capsys):
    statistics = AttentionStatistics.load(place / "recipes" / tiny_folder.name / "statistics.npz")
    path = tmp_path / tiny_folder.name / "statistics.npz"
    replace(statistics, model="another-llava").save(path)
    assert compare(recipes=tmp_path) == 2
    assert f"statistics {path} are of another-llava, not of tiny-llava" in complaint(capsys)
    replace(statistics, geometry=replace(statistics.geometry, hidden_size=65)).save(path)
    assert compare(recipes=tmp_path) == 2
    assert f"statistics {path} are of a model of another shape than tiny-llava" in complaint(capsys)


def test_running_out_of_memory_is_no_bad_input(compare, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError("cpu ran out of memory on a prompt")

    monkeypatch.setattr("fitprune_core.run.comparison.stream_comparison", fail)
    assert compare() == 1
    assert "ran out of memory" in complaint(capsys)


@pytest.mark.slow
def test_memory_that_runs_out_in_the_model_ends_compare_with_one_line(compare, capsys, monkeypatch):
    fill_memory_once(monkeypatch)
    assert compare() == 1
    assert "cpu ran out of memory on a prompt of" in complaint(capsys)
    assert compare() == 0


def test_interrupt(compare, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fitprune_core.models.loading.load_model", interrupt)
    assert compare() == 130
    assert complaint(capsys) == "python -m fitprune_core: interrupted\n"


@pytest.mark.parametrize("command", ["calibrate", "evaluate"])
def test_an_interrupt_says_what_goes_on(place, tiny_folder, tmp_path, capsys, monkeypatch, command):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fitprune_core.models.loading.load_model", interrupt)
    rest = ["--reduction", "0.5"] if command == "evaluate" else []
    samples, out = str(place / "samples.jsonl"), str(tmp_path / "out")
    assert main([command, "--model", str(tiny_folder), "--samples", samples, "--out", out, *rest]) == 130
    assert complaint(capsys).endswith("interrupted; the same command goes on where it stopped\n")


def test_debug_shows_the_traceback(compare, capsys, caplog):
    assert compare(image="missing.png", debug=True) == 2
    complaint(capsys)
    assert caplog.records[0].exc_info[0] is ValueError
