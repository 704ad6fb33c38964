"""What a Space gets: everything that the app needs, and nothing else; and how the Hub is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from huggingface_hub.errors import HfHubHTTPError

from app import space
from app.space import LARGEST_BY_GIT, ROOT, files_of, main, upload
from tests.app.fake_engine import FakeEngine
from tests.app.serving import served


@pytest.fixture(scope="module")
def files():
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    return files_of()


def test_it_gets_what_it_needs_and_nothing_else(files):
    names = {str(path) for path in files}
    assert {"app.py", "requirements.txt", "README.md", "assets/mini-llava/model.safetensors"} <= names
    assert {path.parts[0] for path in files} == {
        "app.py", "requirements.txt", "README.md", "LICENSE", "app", "assets", "fitprune_core", "recipes"
    }  # fmt: skip
    assert not [name for name in names if "test" in Path(name).name or name.endswith(".pyi")]


@pytest.mark.slow
def test_the_app_starts_from_what_it_gets(files, tmp_path):
    """In a folder that holds nothing else, with nothing of the checkout in sight."""
    for path in files:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
    code = "from app.interface import build_demo; from app.engine import Engine; from app.settings import Settings\n"
    code += "import fitprune_core, pathlib\n"
    code += "assert pathlib.Path(fitprune_core.__file__).is_relative_to(pathlib.Path.cwd())\n"
    code += "build_demo(Engine.from_settings(Settings(model='mini-llava')), pathlib.Path('runs'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                          env={"PATH": "", "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"})  # fmt: skip
    assert done.returncode == 0, done.stderr


class Hub:
    """Stands in for the Hub: notes what it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple] = []
        self.error = error

    def create_repo(self, name, **options):
        if self.error:
            raise self.error
        self.asked.append(("create", name, options))
        return f"https://huggingface.co/spaces/{name}"

    def upload_folder(self, **options):
        self.asked.append(("upload", options))


def test_the_hub_is_asked_once_for_the_space_and_once_for_all_files(files, tmp_path):
    hub = Hub()
    assert upload("me/studio", files, api=hub) == "https://huggingface.co/spaces/me/studio"
    (_, name, made), (_, sent) = hub.asked
    assert (name, made["repo_type"], made["space_sdk"], made["exist_ok"]) == ("me/studio", "space", "gradio", True)
    assert (sent["repo_id"], sent["repo_type"], sent["folder_path"]) == ("me/studio", "space", ROOT)
    assert sent["allow_patterns"] == [str(path) for path in files]


@pytest.mark.parametrize("name", ["studio", "a/b/c", "me/", "../x", "me/..", "-x/y"])
def test_a_name_that_cannot_be_is_refused_before_the_hub_is_asked(name):
    hub = Hub()
    with pytest.raises(ValueError, match="it is owner/name"):
        upload(name, [], api=hub)
    assert not hub.asked


DENIED = httpx.Response(401, request=httpx.Request("POST", "https://huggingface.co/api/repos/create"))


@pytest.mark.parametrize("error", [OSError("offline"), HfHubHTTPError("401 Unauthorized\nlong", response=DENIED)])
def test_a_hub_that_says_no_is_told_in_a_sentence(error):
    with pytest.raises(ValueError, match="the Hub said no") as told:
        upload("me/studio", [], api=Hub(error))
    assert "\n" not in str(told.value) and "hf auth login" in str(told.value)


def test_a_dry_run_lists_and_asks_nothing(files, capsys, monkeypatch):
    monkeypatch.setattr(space, "HfApi", lambda: pytest.fail("the Hub was asked"))
    assert main(["--space", "me/studio", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(files) + 1 and lines[-1].endswith(f"bytes in {len(files)} files")


def test_no_file_is_more_than_git_push_takes(files):
    assert [str(path) for path in files if (ROOT / path).stat().st_size > LARGEST_BY_GIT] == []


@pytest.mark.slow
def test_the_containers_health_check_finds_the_app_and_misses_it_where_it_is_not():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (check,) = re.findall(r'^HEALTHCHECK .*? CMD python -c "(.*)"$', dockerfile, re.MULTILINE)
    code = check.replace('\\"', '"')
    with served(FakeEngine()) as url:
        environment = {**os.environ, "FITPRUNE_PORT": url.rstrip("/").rsplit(":", 1)[1]}
        assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 0
    missed = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, capture_output=True)
    assert missed.returncode != 0
