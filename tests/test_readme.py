"""The README and its guide keep their word: their Python runs, their commands exist, what they link to is there."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from app.demo_model.samples import write_samples
from fitprune_core.cli.main import COMMANDS, main
from fitprune_core.cli.options import command_parser
from fitprune_core.models.loading import MINI_LLAVA, MINI_LLAVA_FOLDER
from fitprune_core.recipes.published import RECIPES
from fitprune_core.recipes.store import STATISTICS
from fitprune_core.samples.files import SamplesFile, read_samples
from tests.families_table import families_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "assets" / "guide").glob("*.md"))]
ALL = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


def blocks(language, text=ALL):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(start):
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith(start)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_it_links_to_is_there(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_guide_names_every_option_of_the_command_line():
    guide = "".join((ROOT / "assets" / "guide" / name).read_text("utf-8") for name in ("command-line.md", "models.md"))
    parser = command_parser(dict.fromkeys(COMMANDS, main))
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    options = {option for each in commands.values() for option in each._option_string_actions} - {"-h", "--help"}
    assert sorted(option for option in options if not re.search(rf"{option}(?![\w-])", guide)) == []


def test_every_page_of_the_guide_is_linked_to():
    assert [page.name for page in PAGES[1:] if f"assets/guide/{page.name}" not in README] == []


def test_its_command_lines_can_be_read():
    found = commands("python -m fitprune_core")
    assert len(found) >= 3
    for words in found:
        command_parser(COMMANDS).parse_args(words[3:])


def test_its_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = commands("make")
    assert found
    for words in found:
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words


def test_its_space_can_start():
    front = README.split("---\n")[1]
    entries = dict(line.split(": ", 1) for line in front.splitlines())
    assert entries["sdk"] == "gradio"
    assert f"gradio=={entries['sdk_version']}\n" in (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert (ROOT / entries["app_file"]).is_file()
    assert len(entries["short_description"]) <= 60


def test_its_picture_of_the_method_is_drawn_from_the_recipe(monkeypatch):
    drawn = (ROOT / "assets" / "method.svg").read_text(encoding="utf-8")
    written = {}
    monkeypatch.setattr(Path, "write_text", lambda self, text, **_: written.update({self.name: text}))
    runpy.run_path(str(ROOT / "assets" / "draw_method.py"), run_name="__main__")
    assert written == {"method.svg": drawn}


def test_the_samples_it_shows_are_read(tmp_path):
    array = blocks("json")[0]
    line = re.search(r"one object a line: `(.*?)`", ALL)[1]
    for name, text in (("mix.json", array), ("samples.jsonl", line)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    entry = json.loads(line)
    (tmp_path / "samples.csv").write_text("\n".join(",".join(row) for row in (entry, entry.values())), encoding="utf-8")
    (mix,) = read_samples(SamplesFile(tmp_path / "mix.json", tmp_path / "data"))
    assert (mix.question, mix.answer) == (
        "What are the colors of the bus in the image?",
        "The bus in the image is white and red.",
    )
    assert mix.image == tmp_path / "data" / json.loads(array)[0]["image"]
    for name in ("samples.jsonl", "samples.csv"):
        (one,) = read_samples(tmp_path / name)
        assert (one.id, one.image, one.question, one.answer) == ("17", tmp_path / "17.png", "What is it?", "a key")


def test_its_table_of_families_is_that_of_the_tests(capfd):
    """Where this fails, put what `python -m tests.families_table` prints into assets/guide/models.md."""
    table, is_well = families_table(run=False)
    assert is_well
    assert re.search(r"<!-- families -->\n(.*?)<!-- /families -->", ALL, re.DOTALL)[1].strip() == table.strip()


NEEDED = (MINI_LLAVA_FOLDER / "config.json", RECIPES / MINI_LLAVA / STATISTICS)


@pytest.mark.slow
@pytest.mark.skipif(not all(path.is_file() for path in NEEDED), reason="needs the embedded model and its statistics")
def test_its_python_runs(monkeypatch, capsys, tmp_path):
    """That of the library; tests/app/test_server_guide.py runs what talks to a server."""
    monkeypatch.chdir(ROOT)
    code, more, own = blocks("python", (ROOT / "assets" / "guide" / "library.md").read_text(encoding="utf-8"))
    names = {"__name__": "readme"}
    exec(compile(code, "library.md", "exec"), names)
    answer, left = capsys.readouterr().out.splitlines()
    assert answer
    counts = [int(number) for number in left.strip("[]").split(", ")]
    assert counts == sorted(counts, reverse=True)
    write_samples(tmp_path, 2, 0)
    monkeypatch.chdir(tmp_path)
    exec(compile(more, "library.md", "exec"), names)
    assert [score.method for score in names["scores"]] == ["original", "fitprune", "random"]
    exec(compile(own, "library.md", "exec"), names)
    assert names["comparison"].method == "self-plus-cross"
    assert [each.method for each in names["swept"]] == ["self-plus-cross", "fitprune"]
    assert [score.method for score in names["own_scores"]] == ["original", "self-plus-cross", "fitprune"]


@pytest.mark.slow
def test_what_it_says_compare_prints_is_printed(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    command = next(words for words in commands("python -m fitprune_core compare") if MINI_LLAVA in words)
    shown = re.search(r"^```\n(model .*?)^```", ALL, re.MULTILINE | re.DOTALL)[1].splitlines()
    assert main(command[3:]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    # The first line names the machine's threads, and columns are as wide as what is said of its times.
    assert [line for line in shown[1:] if line.split() not in printed] == []
