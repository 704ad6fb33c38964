"""The other commands: what they print and write, and one line with exit status 2 for whatever cannot be."""

from __future__ import annotations

import json

import pytest

from fitprune_core import AttentionStatistics, PruningRecipe, fit_recipe
from fitprune_core.cli import options
from fitprune_core.cli.main import main
from fitprune_core.run import results
from fitprune_core.samples.journal import Journal
from tests.cli.conftest import complaint
from tests.memory import fill_memory_once
from tests.tiny import random_picture

pytestmark = pytest.mark.usefixtures("one_round")


def test_calibrate_and_fit_write_what_they_say(place, tiny_folder):
    statistics = AttentionStatistics.load(place / "recipes" / tiny_folder.name / "statistics.npz")
    assert (statistics.num_samples, statistics.model) == (3, tiny_folder.name)
    recipe = PruningRecipe.load(place / "recipe.json")
    assert (recipe.model, recipe.reduction, recipe.num_samples) == (tiny_folder.name, 0.5, 3)
    assert recipe.achieved_reduction == pytest.approx(0.5, abs=0.02)


def test_the_original_has_one_name():
    assert options.ORIGINAL == results.ORIGINAL


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
    assert capsys.readouterr().out == f"{out}: 1 sample (1 left out), 36 visual tokens each\n"


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_sums_are_of_the_samples_in_the_file(place, tiny_folder, tmp_path, capsys, caplog):
    lines = (place / "samples.jsonl").read_text().splitlines(keepends=True)
    fewer = place / "fewer.jsonl"
    fewer.write_text("".join(lines[:1]))
    out = tmp_path / "results.csv"

    def answers(samples):
        assert main(["evaluate", "--model", str(tiny_folder), "--samples", str(samples), "--reduction", "0",
                     "--max-new-tokens", "2", "--out", str(out), "--recipes", str(place / "recipes")]) == 0  # fmt: skip
        header, original = (line.split() for line in capsys.readouterr().out.splitlines()[:2])
        return int(original[header.index("answers")])

    assert answers(place / "samples.jsonl") == len(lines)
    assert answers(fewer) == 1
    assert f"keeps {len(lines) - 1} answers about samples that are not in" in caplog.text
    assert len(out.read_text().splitlines()) == 1 + len(lines)


@pytest.mark.parametrize("command", ["calibrate", "fit"])
def test_what_is_read_or_is_something_else_is_not_written_over(place, tiny_folder, tmp_path, capsys, command):
    other = tmp_path / "README.md"
    other.write_text("# Title")
    source = place / ("samples.jsonl" if command == "calibrate" else "statistics.npz")
    if command == "fit":
        source.write_bytes(b"PK")
    before = source.read_bytes()
    given = (
        ["--model", str(tiny_folder), "--samples"] if command == "calibrate" else ["--reduction", "0.5", "--statistics"]
    )
    for out, words in ((source, "is read here"), (other, "is there and is not")):
        assert main([command, *given, str(source), "--out", str(out)]) == 2
        assert words in complaint(capsys)
    assert source.read_bytes() == before and other.read_text() == "# Title"


def test_outputs_are_looked_at_before_the_work(place, tiny_folder, tmp_path, capsys):
    samples = str(place / "samples.jsonl")
    for out in (tmp_path, place / "picture.png" / "statistics.npz"):
        assert main(["calibrate", "--model", str(tiny_folder), "--samples", samples, "--out", str(out)]) == 2
        assert str(out) in complaint(capsys)


def test_fit_takes_the_papers_rule_alone(place, tiny_folder, tmp_path):
    statistics = place / "recipes" / tiny_folder.name / "statistics.npz"
    out = tmp_path / "recipe.json"
    assert main(["fit", "--statistics", str(statistics), "--reduction", "0.5", "--no-gather", "--out", str(out)]) == 0
    recipe = PruningRecipe.load(out)
    assert recipe == fit_recipe(AttentionStatistics.load(statistics), 0.5, gather=False)
    assert recipe.source.endswith("small drops are not gathered")


def test_fit_refuses_what_are_no_statistics(place, tmp_path, capsys):
    for path in (place / "picture.png", tmp_path / "gone.npz"):
        arguments = ["fit", "--statistics", str(path), "--reduction", "0.5", "--out", str(tmp_path / "r.json")]
        assert main(arguments) == 2
        assert str(path) in complaint(capsys)


def test_calibrate_leaves_out_what_does_not_fit(place, tiny_folder, tmp_path, caplog, monkeypatch):
    fill_memory_once(monkeypatch)
    out = tmp_path / "statistics.npz"
    arguments = ["calibrate", "--model", str(tiny_folder), "--samples", str(place / "samples.jsonl"), "--out", str(out)]
    assert main(arguments) == 0
    reports = [record.getMessage() for record in caplog.records]
    assert len(reports) == 1 and "left out sample 0" in reports[0] and "ran out of memory" in reports[0]
    assert AttentionStatistics.load(out).num_samples == len((place / "samples.jsonl").read_text().splitlines()) - 1


@pytest.mark.slow
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
