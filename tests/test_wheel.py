"""The wheel, as somebody installs it: it holds what the library needs and works from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel of this checkout, unpacked as an installer would."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_training_and_the_app_stay_outside(installed):
    assert {path.name for path in installed.iterdir() if "dist-info" not in path.name} == {"fitprune_core"}
    assert (installed / "fitprune_core" / "py.typed").is_file()
    (about,) = installed.glob("*.dist-info")
    assert "fitprune = fitprune_core.cli.main:main" in (about / "entry_points.txt").read_text()


@pytest.mark.slow
def test_it_answers_from_an_empty_folder(installed, tmp_path):
    arguments = ("--model", "mini-llava", "--image", str(ROOT / "assets" / "examples" / "counting.png"))
    asked = ("--question", "How many umbrellas are there?", "--reduction", "0.6", "--json")
    done = run(installed, tmp_path, "-m", "fitprune_core", "compare", *arguments, *asked)
    assert done.returncode == 0, done.stderr
    comparison = json.loads(done.stdout)
    assert comparison["model"] == "mini-llava" and comparison["achieved_reduction"] == pytest.approx(0.6, abs=0.01)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_authors_recipes_are_there(installed, tmp_path):
    code = (
        "import fitprune_core; from fitprune_core.recipes.published import published_recipes; "
        "print(fitprune_core.__file__, len(published_recipes('llava-hf/llava-1.5-7b-hf')))"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.stdout.split() == [str(installed / "fitprune_core" / "__init__.py"), "10"], done.stderr
