"""Examples whose comparison was made beforehand: current, shown without a run, and left aside once they are not."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from app import precomputed
from app.asking.scenes import load_examples
from app.asking.sides import Sides
from app.engine import Engine
from app.pages.compare import create_compare
from app.parts.sides import Chosen
from app.precomputed import FOLDER, load_ready, read_ready, write_ready
from app.settings import Settings
from fitprune_core import MINI_LLAVA, LoadOptions
from tests.app.fake_engine import FakeEngine, make_comparison

VISITOR = SimpleNamespace(session_hash="visitor", client=None, query_params={})
EXAMPLES = load_examples()


@pytest.fixture(scope="module")
def embedded():
    return Engine.from_settings(Settings(model=MINI_LLAVA, loading=LoadOptions(device="cpu")))


def write(folder, engine, example):
    recipe = engine.recipe_for(example.percent)
    comparison = make_comparison(example.open().size, example.question, recipe, ("a red car", "a blue car"))
    return write_ready(folder, engine, example, comparison)


@pytest.fixture
def folder(tmp_path):
    """What was made beforehand for the first two examples, by an engine of a script."""
    for example in EXAMPLES[:2]:
        write(tmp_path, FakeEngine(), example)
    return tmp_path


@pytest.mark.slow
def test_what_is_shipped_is_current(embedded):
    """Where this fails, `make examples` mends it."""
    for example in EXAMPLES:
        read_ready(FOLDER / f"{example.name}.json", embedded, example)
    assert set(load_ready(embedded, EXAMPLES)) == set(EXAMPLES)
    assert {path.stem for path in FOLDER.iterdir()} == {example.name for example in EXAMPLES}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000


@pytest.mark.slow
def test_the_command_makes_what_is_shipped(embedded, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precomputed, "FOLDER", tmp_path)
    (tmp_path / "gone.json").write_text("{}")
    assert precomputed.main([]) == 0
    assert not (tmp_path / "gone.json").exists() and embedded.weights in capsys.readouterr().out
    for example in EXAMPLES:
        made, shipped = (
            read_ready(folder / f"{example.name}.json", embedded, example).comparison for folder in (tmp_path, FOLDER)
        )
        assert (made.original.answer, made.pruned.answer) == (shipped.original.answer, shipped.pruned.answer)
        assert made.kept == shipped.kept


def test_help_makes_nothing(capsys, monkeypatch):
    monkeypatch.setattr(precomputed.Engine, "from_settings", None)
    with pytest.raises(SystemExit) as end:
        precomputed.main(["--help"])
    assert end.value.code == 0 and "Compare all examples anew" in capsys.readouterr().out


def test_what_is_written_is_read_again(folder):
    ready = load_ready(FakeEngine(), EXAMPLES, folder)
    assert list(ready) == list(EXAMPLES[:2])
    expected = make_comparison(
        EXAMPLES[0].open().size,
        EXAMPLES[0].question,
        FakeEngine().recipe_for(EXAMPLES[0].percent),
        ("a red car", "a blue car"),
    )
    assert ready[EXAMPLES[0]].comparison == expected


def other(**changes):
    engine = FakeEngine()
    for name, value in changes.items():
        setattr(engine, name, value)
    return engine


@pytest.mark.parametrize(
    ("engine", "example", "words"),
    [
        (other(weights="other"), EXAMPLES[0], "weights is 'none', not 'other'"),
        (other(max_new_tokens=7), EXAMPLES[0], "tokens is 64, not 7"),
        (other(recipe_for=lambda percent: FakeEngine().recipe_for(30)), EXAMPLES[0], "its recipe is another"),
        (FakeEngine(), replace(EXAMPLES[0], question="Why?"), "its question is"),
        (FakeEngine(), replace(EXAMPLES[0], percent=40), "its recipe is another"),
    ],
)
def test_what_is_not_current_is_left_aside_and_told(folder, engine, example, words, caplog):
    with caplog.at_level(logging.INFO, logger="app.precomputed"):
        assert load_ready(engine, [example], folder) == {}
    assert words in caplog.text and "make examples" in caplog.text


def test_another_picture_is_noticed(folder, monkeypatch):
    example = EXAMPLES[0]
    picture = example.open().rotate(1)
    monkeypatch.setattr(type(example), "open", lambda self: picture)
    with pytest.raises(ValueError, match="its picture is"):
        read_ready(folder / f"{example.name}.json", FakeEngine(), example)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "fitprune-precomputed", "version": 1}'])
def test_a_damaged_file_is_left_aside(folder, text, caplog):
    (folder / f"{EXAMPLES[0].name}.json").write_text(text)
    with caplog.at_level(logging.INFO, logger="app.precomputed"):
        assert list(load_ready(FakeEngine(), EXAMPLES, folder)) == [EXAMPLES[1]]
    assert f"{EXAMPLES[0].name}.json" in caplog.text


def test_a_file_without_a_comparison_is_damaged(folder):
    path = folder / f"{EXAMPLES[0].name}.json"
    entries = json.loads(path.read_text())
    del entries["comparison"]["kept"]
    path.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="damaged"):
        read_ready(path, FakeEngine(), EXAMPLES[0])


@pytest.fixture
def page(folder):
    with gr.Blocks():
        return create_compare(FakeEngine(), precomputed=folder)


def pick(page, index, sides=None):
    return page.pick(SimpleNamespace(_data={"index": index}), Chosen.of(sides or Sides()), VISITOR)


def test_an_example_is_shown_at_once_and_marked(page):
    update, parts = pick(page, 1), page.parts
    board = update[parts.board]
    assert update[parts.is_ready] is True and board.state == "done" and board.pruned.answer == "a blue car"
    assert "Times" in {row.label for row in board.rows} and "Prefill" not in {row.label for row in board.rows}
    assert update[parts.notice].text.startswith("Made beforehand, on 2") and "beforehand" not in board.sentence
    assert "example=1" in board.link and update[parts.shown] == board.model_dump()
    assert update[parts.found].entries()["comparison"]["question"] == EXAMPLES[1].question
    assert page.engine.asked == []


@pytest.mark.parametrize(("index", "sides"), [(2, Sides()), (0, Sides(left="random")), (1, Sides(right="uniform"))])
def test_what_was_not_made_beforehand_is_to_run(page, index, sides):
    update = pick(page, index, sides)
    assert update[page.parts.is_ready] is False and page.parts.board not in update


def test_whoever_arrives_meets_the_first(page):
    update = page.arrive(VISITOR)
    assert update[page.parts.is_ready] is True and update[page.parts.question] == EXAMPLES[0].question


@pytest.mark.parametrize(
    ("asked", "is_ready"),
    [
        ({"example": "1"}, True),
        ({"example": "1", "question": "Why?"}, False),
        pytest.param({"example": "1", "budget": "33"}, False, marks=pytest.mark.slow),
        pytest.param({"example": "1", "left": "random"}, False, marks=pytest.mark.slow),
    ],
)
def test_a_link_to_what_was_made_beforehand_shows_it(page, asked, is_ready):
    request = SimpleNamespace(**{**vars(VISITOR), "query_params": asked})
    assert page.arrive(request)[page.parts.is_ready] is is_ready
