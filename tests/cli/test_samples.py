"""The command line over samples files of every form, with pictures elsewhere, and what is no file to read or write."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest

from fitprune_core import AttentionStatistics, PruningRecipe
from fitprune_core.cli.main import main
from tests.tiny import random_picture

QUESTIONS = ("What is it?", "How many?")


@pytest.fixture
def files(tmp_path):
    """The same two samples in each form, their pictures in another folder."""
    (tmp_path / "pictures").mkdir()
    plain = []
    for number, question in enumerate(QUESTIONS):
        random_picture(40 + number, 40).save(tmp_path / "pictures" / f"{number}.png")
        plain.append({"id": str(number), "image": f"{number}.png", "question": question})
    turns = [[{"from": "human", "value": f"<image>\n{question}"}] for question in QUESTIONS]
    llava = [
        {"id": one["id"], "image": one["image"], "conversations": turn} for one, turn in zip(plain, turns, strict=True)
    ]
    rows = "".join(f"{one['id']},{one['image']},{one['question']}\n" for one in plain)
    texts = {
        "s.jsonl": "\n".join(map(json.dumps, plain)),
        "s.json": json.dumps(llava, indent=1),
        "s.csv": f"id,image,question\n{rows}",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow
def test_every_form_calibrates_to_the_same_statistics(files, tiny_folder, capsys):
    found = []
    for name in ("s.jsonl", "s.json", "s.csv"):
        out = files / f"{name}.npz"
        arguments = ["calibrate", "--model", str(tiny_folder), "--samples", str(files / name), "--out", str(out)]
        assert main([*arguments, "--images", str(files / "pictures")]) == 0
        found.append(AttentionStatistics.load(out))
        assert main(arguments) == 2
        assert "--images names the folder" in capsys.readouterr().err
    for other in found[1:]:
        assert np.array_equal(other.self_attention, found[0].self_attention)
        assert np.array_equal(other.cross_attention, found[0].cross_attention)


@pytest.mark.slow
def test_what_was_fitted_is_evaluated(files, tiny_folder, capsys):
    model = ["--model", str(tiny_folder), "--samples", str(files / "s.json"), "--images", str(files / "pictures")]
    assert main(["calibrate", *model, "--out", str(files / "s.npz")]) == 0
    fitted = ["fit", "--statistics", str(files / "s.npz"), "--reduction", "0.4", "--first-drop-layer", "2"]
    assert main([*fitted, "--out", str(files / "recipe.json")]) == 0
    recipe, out = PruningRecipe.load(files / "recipe.json"), files / "results.csv"
    running = ["evaluate", *model, "--max-new-tokens", "1", "--out", str(out)]
    assert main([*running, "--recipe", str(files / "recipe.json")]) == 0
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    pruned = [row for row in rows if row["method"] == "fitprune"]
    assert len(pruned) == 2 and {row["reduction"] for row in pruned} == {"0.4"}
    counts = " ".join(map(str, recipe.removed))
    assert counts.startswith("0 0 ") and all(row["recipe"].startswith(counts) for row in pruned)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*running, "--recipe", str(files / "recipe.json"), "--reduction", "0.4"])
    with pytest.raises(SystemExit):
        main(["fit", "--stat", str(files / "s.npz"), "--reduction", "0.4", "--out", "x.json"])
    assert "not allowed with" in (told := capsys.readouterr().err) and "--statistics" in told


@pytest.mark.slow
def test_evaluate_reads_llavas_form(files, tiny_folder, capsys):
    statistics = files / "recipes" / tiny_folder.name / "statistics.npz"
    model = ["--model", str(tiny_folder), "--samples", str(files / "s.json"), "--images", str(files / "pictures")]
    assert main(["calibrate", *model, "--out", str(statistics)]) == 0
    out = files / "results.csv"
    running = ["--recipes", str(files / "recipes"), "--reduction", "0.5", "--max-new-tokens", "1"]
    assert main(["evaluate", *model, *running, "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + 2 * len(QUESTIONS)


@pytest.mark.parametrize("option", ["--samples", "--out"])
def test_pipes_and_devices_are_refused(files, tiny_folder, capsys, option):
    os.mkfifo(files / "pipe")
    usual = {"--samples": files / "s.jsonl", "--out": files / "o.npz", "--images": files / "pictures"}
    for path, kind in ((files / "pipe", "a pipe"), ("/dev/zero", "a device")):
        options = [str(part) for pair in (usual | {option: path}).items() for part in pair]
        assert main(["calibrate", "--model", str(tiny_folder), *options]) == 2
        said = capsys.readouterr().err
        assert str(path) in said and kind in said and said.count("\n") == 1
