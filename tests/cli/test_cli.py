"""The command line: what it prints, what it writes, and one line with exit status 2 for whatever cannot be."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from fitprune_core import AttentionStatistics, PruningRecipe
from fitprune_core.cli.main import main
from fitprune_core.samples.journal import Journal
from tests.memory import fill_memory_once
from tests.tiny import random_picture

pytestmark = pytest.mark.usefixtures("one_round")

RUN_KEYS = ["answer", "new_tokens", "prefill_ms", "decode_ms", "visual_gflops", "total_gflops", "kv_cache_bytes"]


@pytest.fixture(autouse=True, scope="module")
def _quiet_libraries():
    """`main` quiets libraries by the environment, before they are imported; here they are there already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fitprune_core.cli.main._quiet_libraries", lambda: None)
        patch.setattr("transformers.utils.logging._tqdm_active", False)
        yield


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory):
    """A folder with a model, a picture, samples, statistics and a recipe."""
    folder = tmp_path_factory.mktemp("cli")
    random_picture().save(folder / "picture.png")
    (folder / "notes.png").write_text("no picture")
    lines = [{"id": str(n), "image": "picture.png", "question": f"What is {n}?", "answer": "a key"} for n in range(3)]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    store = folder / "recipes"
    main(["calibrate", "--model", str(tiny_folder), "--samples", str(folder / "samples.jsonl"),
          "--out", str(store / tiny_folder.name / "statistics.npz")])  # fmt: skip
    main(["fit", "--statistics", str(store / tiny_folder.name / "statistics.npz"), "--reduction", "0.5",
          "--out", str(folder / "recipe.json")])  # fmt: skip
    return folder


@pytest.fixture
def compare(place, tiny_folder):
    """Runs `compare` on the tiny model, with these options in place of the usual ones; None leaves one out."""

    def run(**options):
        options = {
            "model": tiny_folder,
            "image": place / "picture.png",
            "question": "What is this?",
            "reduction": 0.5,
            "recipes": place / "recipes",
            "max_new_tokens": 3,
        } | options
        arguments = ["compare"]
        for name, value in options.items():
            if value is not None:
                arguments += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        try:
            return main(arguments)
        except SystemExit as stop:
            return stop.code

    return run


def complaint(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_calibrate_and_fit_write_what_they_say(place, tiny_folder):
    statistics = AttentionStatistics.load(place / "recipes" / tiny_folder.name / "statistics.npz")
    assert (statistics.num_samples, statistics.model) == (3, tiny_folder.name)
    recipe = PruningRecipe.load(place / "recipe.json")
    assert (recipe.model, recipe.reduction, recipe.num_samples) == (tiny_folder.name, 0.5, 3)
    assert recipe.achieved_reduction == pytest.approx(0.5, abs=0.02)


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


def test_compare_prints_a_table(compare, capsys):
    assert compare(method="random") == 0
    table = capsys.readouterr().out
    for words in ("visual FLOPs", "prefill", "KV cache", "ranked by random", "Times: "):
        assert words in table
    prefill = next(line for line in table.splitlines() if line.startswith("prefill "))
    assert "%" not in prefill
    assert any(words in prefill for words in ("no measurable difference", "faster (", "slower (", "too few"))


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


def test_a_share_for_no_way_is_refused(compare, capsys):
    assert compare(against_reduction=0.4) == 2
    assert "--against-reduction 0.4 goes with --against, which is original" in complaint(capsys)


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


def test_compare_takes_a_recipe_file(compare, place, capsys):
    assert compare(reduction=None, recipe=place / "recipe.json", json=True) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["removed"] == list(PruningRecipe.load(place / "recipe.json").removed)


def test_nothing_is_pruned_at_zero(compare, capsys):
    assert compare(reduction=0, json=True) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["agree"] is True
    assert entries["removed"] == [0, 0, 0, 0]


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
        ({"go": "5000"}, "visual token 5000 was painted"),
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
def test_calibrate_and_evaluate_take_the_options_of_a_model(place, tiny_folder, tmp_path, capsys, caplog):
    model = ["--model", str(tiny_folder), "--samples", str(place / "samples.jsonl")]
    padded = ["--image-aspect", "pad", "--attn", "eager"]
    store = tmp_path / "recipes" / tiny_folder.name / "statistics.npz"
    assert main(["calibrate", *model, *padded, "--out", str(store)]) == 0
    assert AttentionStatistics.load(store).provenance["image_aspect"] == "pad"
    running = ["--recipes", str(tmp_path / "recipes"), "--reduction", "0.5", "--max-new-tokens", "1"]
    assert main(["evaluate", *model, *padded, *running, "--out", str(tmp_path / "one.csv")]) == 0
    assert not caplog.records
    assert main(["evaluate", *model, *running, "--out", str(tmp_path / "two.csv")]) == 0
    assert "'pad'; this model gets them as 'crop'" in caplog.text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "1", "image": "picture.png"', "line 2"),
        ('{"id": "1", "image": "picture.png", "question": " "}', "line 2"),
        ('{"id": "0", "image": "picture.png", "question": "Again?"}', "line 2: the id '0' is that of line 1"),
    ],
)
def test_bad_samples_name_the_line(place, tiny_folder, tmp_path, capsys, line, words):
    random_picture().save(tmp_path / "picture.png")
    samples = tmp_path / "samples.jsonl"
    samples.write_text('{"id": "0", "image": "picture.png", "question": "What?"}\n' + line)
    out = tmp_path / "statistics.npz"
    assert main(["calibrate", "--model", str(tiny_folder), "--samples", str(samples), "--out", str(out)]) == 2
    assert words in complaint(capsys)
    assert not out.exists()


def test_a_sample_without_its_picture_is_reported_and_left_out(place, tiny_folder, tmp_path, capsys, caplog):
    random_picture().save(tmp_path / "picture.png")
    samples, out = tmp_path / "samples.jsonl", tmp_path / "statistics.npz"
    lines = [{"id": str(n), "image": name, "question": "What?"} for n, name in enumerate(["picture.png", "gone.png"])]
    samples.write_text("\n".join(map(json.dumps, lines)))
    arguments = ["calibrate", "--model", str(tiny_folder), "--samples", str(samples), "--out", str(out)]
    assert main(arguments) == 0
    (record,) = caplog.records
    report = f"left out sample 1 ({samples}, line 2): there is no file {tmp_path / 'gone.png'}"
    assert record.getMessage() == report
    assert capsys.readouterr().out == f"{out}: 1 samples (1 left out), 36 visual tokens each\n"


@pytest.mark.parametrize("command", ["calibrate", "evaluate"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "samples.jsonl holds no sample"),
        ('{"id": "0", "image": "gone.png", "question": "What?"}', "line 1: there is no file"),
        ("no object", "line 1: not a JSON object: 'no object'"),
    ],
)
def test_samples_files_that_cannot_be_used(place, tiny_folder, tmp_path, capsys, command, text, words):
    samples, out = tmp_path / "samples.jsonl", tmp_path / "out"
    samples.write_text(text)
    arguments = [command, "--model", str(tiny_folder), "--samples", str(samples), "--out", str(out)]
    if command == "evaluate":
        arguments += ["--reduction", "0.5", "--recipes", str(place / "recipes")]
    assert main(arguments) == 2
    said = complaint(capsys)
    assert words in said
    assert str(samples) in said
    assert not out.exists()


def test_calibrate_refuses_to_go_on_with_another_models_records(place, tiny_folder, tmp_path, capsys):
    begun = tmp_path / "statistics.npz.journal"
    Journal(begun, {"model": "another-llava"}).close()
    samples, out = str(place / "samples.jsonl"), str(tmp_path / "statistics.npz")
    assert main(["calibrate", "--model", str(tiny_folder), "--samples", samples, "--out", out]) == 2
    assert f"{begun} was begun with model another-llava, not tiny-llava" in complaint(capsys)


def test_statistics_of_another_model_are_refused(compare, place, tiny_folder, tmp_path, capsys):
    statistics = AttentionStatistics.load(place / "recipes" / tiny_folder.name / "statistics.npz")
    path = tmp_path / tiny_folder.name / "statistics.npz"
    replace(statistics, model="another-llava").save(path)
    assert compare(recipes=tmp_path) == 2
    assert f"statistics {path} are of another-llava, not of tiny-llava" in complaint(capsys)
    replace(statistics, geometry=replace(statistics.geometry, hidden_size=65)).save(path)
    assert compare(recipes=tmp_path) == 2
    assert f"statistics {path} are of a model of another shape than tiny-llava" in complaint(capsys)


@pytest.mark.parametrize(
    ("reduction", "words"),
    [("-0.1", "not -0.1"), ("1", "not 1.0"), ("60", "60 % is written 0.6"), ("0.97", "saves 0.9073 at most")],
)
def test_budgets_that_no_fit_can_meet(place, tiny_folder, tmp_path, capsys, reduction, words):
    statistics, out = place / "recipes" / tiny_folder.name / "statistics.npz", tmp_path / "recipe.json"
    try:
        status = main(["fit", "--statistics", str(statistics), "--reduction", reduction, "--out", str(out)])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert words in complaint(capsys)
    assert not out.exists()


def test_evaluate_prints_scores_and_goes_on_where_it_stopped(place, tiny_folder, tmp_path, capsys):
    out = tmp_path / "results.csv"
    arguments = ["evaluate", "--model", str(tiny_folder), "--samples", str(place / "samples.jsonl"),
                 "--reduction", "0.5", "--method", "fitprune", "random", "--recipes", str(place / "recipes"),
                 "--max-new-tokens", "2", "--out", str(out)]  # fmt: skip
    assert main(arguments) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[:4]] == ["method", "original", "fitprune", "random"]
    assert table[2].split()[1] == "50%"
    written = out.read_bytes()
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == table
    assert out.read_bytes() == written
    assert main([*arguments, "--method", "guess"]) == 2
    assert "guess" in complaint(capsys)


def test_outputs_are_looked_at_before_the_work(place, tiny_folder, tmp_path, capsys):
    samples = str(place / "samples.jsonl")
    for out in (tmp_path, place / "picture.png" / "statistics.npz"):
        assert main(["calibrate", "--model", str(tiny_folder), "--samples", samples, "--out", str(out)]) == 2
        assert str(out) in complaint(capsys)


def test_fit_refuses_what_are_no_statistics(place, tmp_path, capsys):
    for path in (place / "picture.png", tmp_path / "gone.npz"):
        arguments = ["fit", "--statistics", str(path), "--reduction", "0.5", "--out", str(tmp_path / "r.json")]
        assert main(arguments) == 2
        assert str(path) in complaint(capsys)


def test_running_out_of_memory_is_no_bad_input(compare, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError("cpu ran out of memory on a prompt")

    monkeypatch.setattr("fitprune_core.run.comparison.stream_comparison", fail)
    assert compare() == 1
    assert "ran out of memory" in complaint(capsys)


def test_memory_that_runs_out_in_the_model_ends_compare_with_one_line(compare, capsys, monkeypatch):
    fill_memory_once(monkeypatch)
    assert compare() == 1
    assert "cpu ran out of memory on a prompt of" in complaint(capsys)
    assert compare() == 0


def test_calibrate_leaves_out_what_does_not_fit(place, tiny_folder, tmp_path, caplog, monkeypatch):
    fill_memory_once(monkeypatch)
    out = tmp_path / "statistics.npz"
    arguments = ["calibrate", "--model", str(tiny_folder), "--samples", str(place / "samples.jsonl"), "--out", str(out)]
    assert main(arguments) == 0
    reports = [record.getMessage() for record in caplog.records]
    assert len(reports) == 1 and "left out sample 0" in reports[0] and "ran out of memory" in reports[0]
    assert AttentionStatistics.load(out).num_samples == len((place / "samples.jsonl").read_text().splitlines()) - 1


def test_evaluate_leaves_out_what_does_not_fit(place, tiny_folder, tmp_path, capsys, caplog, monkeypatch):
    fill_memory_once(monkeypatch)
    out = tmp_path / "results.csv"
    arguments = ["evaluate", "--model", str(tiny_folder), "--samples", str(place / "samples.jsonl"),
                 "--reduction", "0.5", "--recipes", str(place / "recipes"), "--max-new-tokens", "2",
                 "--out", str(out)]  # fmt: skip
    assert main(arguments) == 0
    reports = [record.getMessage() for record in caplog.records]
    assert len(reports) == 1 and "left out sample 0" in reports[0] and "ran out of memory" in reports[0]
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == ["1", "1", "2", "2"]
    assert main(arguments) == 0
    assert sorted(line.split(",")[0] for line in out.read_text().splitlines()[1:]) == ["0", "0", "1", "1", "2", "2"]


def test_interrupt(compare, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fitprune_core.models.loading.load_model", interrupt)
    assert compare() == 130
    assert complaint(capsys) == "python -m fitprune_core: interrupted\n"


def test_debug_shows_the_traceback(compare, capsys, caplog):
    assert compare(image="missing.png", debug=True) == 2
    complaint(capsys)
    assert caplog.records[0].exc_info[0] is ValueError
