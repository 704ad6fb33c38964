"""Shared by the tests of the command line: a model with its files, `compare` on it, and what it complains about."""

from __future__ import annotations

import json

import pytest

from fitprune_core.cli.main import main
from tests.tiny import random_picture


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
