"""The gallery: what is sound is offered and opened without the model, what is not is left out with a sentence."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import gradio as gr
import pytest

from app.asking import gallery
from app.asking.gallery import GALLERY, load_gallery
from app.interface import build_demo
from app.pages.compare import create_compare, create_sharing
from app.settings import Settings
from app.space import files_of
from tests.app.exhibits import DEVICE, MODEL, write_exhibit, write_gallery
from tests.app.fake_engine import FakeEngine

PAIRED = {"rounds": 3, "original": [1.0, 2.0], "pruned": [1.0, 2.0], "ratio": 1.0, "interval": None}
VISITOR = SimpleNamespace(session_hash="visitor", client=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    write_gallery(folder)
    return folder


@pytest.fixture(scope="module")
def sharing(folder):
    with gr.Blocks():
        return create_sharing(create_compare(FakeEngine(), load_gallery(folder)))


def test_what_is_damaged_is_left_out_with_a_sentence_each(folder, caplog):
    with caplog.at_level(logging.WARNING, logger="app.asking.gallery"):
        found = load_gallery(folder)
    assert [(e.path.name, e.model) for e in found] == [("a.json", MODEL), ("b.html", "qwen2.5-vl-7b")]
    assert all(e.thumbnail.startswith("data:image/jpeg;base64,") for e in found)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3 and all("\n" not in each for each in told)
    assert [name for name in ("c.json", "d.html", "e.json") if sum(name in each for each in told) == 1] == [
        "c.json", "d.html", "e.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda trace: trace.update(image="data:image/jpeg;base64,AAAA"),
        lambda trace: trace.update(dropped_after="x"),
        lambda trace: trace.pop("tokens"),
    ],
)
def test_what_could_not_be_drawn_is_left_out(tmp_path, change):
    write_exhibit(tmp_path / "a.json", "What?")
    entries = json.loads((tmp_path / "a.json").read_text())
    change(entries["trace"])
    (tmp_path / "a.json").write_text(json.dumps(entries))
    assert load_gallery(tmp_path) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda entries: entries["comparison"]["pruned"].update(new_tokens=float("inf")), "holds inf"),
        (lambda entries: entries["comparison"]["pruned"].update(prefill_ms=float("nan")), "holds nan"),
        (lambda entries: entries["trace"].update(width=0), "has 0 x"),
        (lambda entries: entries["comparison"].update(image_size=[0, 5]), "has 0 x 5 pixels"),
        (lambda entries: entries["comparison"].update(paired={"prefill": PAIRED | {"ratio": 0}}), "a ratio of 0"),
        (lambda entries: entries["comparison"].update(paired={"prefill": PAIRED | {"interval": [0, 2]}}), "a ratio"),
    ],
)
def test_numbers_that_nothing_measures_are_left_out(tmp_path, caplog, change, words):
    write_exhibit(tmp_path / "a.json", "What?")
    entries = json.loads((tmp_path / "a.json").read_text())
    change(entries)
    (tmp_path / "a.json").write_text(json.dumps(entries))
    assert load_gallery(tmp_path) == () and words in caplog.text


def test_the_usual_folder_need_not_be_there_another_must(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "GALLERY", tmp_path / "none")
    assert load_gallery(tmp_path / "none") == ()
    with pytest.raises(ValueError, match="other is no folder"):
        load_gallery(tmp_path / "other")


def test_there_are_no_more_than_can_be_chosen_from(folder, monkeypatch, caplog):
    monkeypatch.setattr(gallery, "MOST_EXHIBITS", 1)
    assert len(load_gallery(folder)) == 1 and "1 of its 2" in caplog.text


def test_one_is_opened_without_the_model_and_marked(sharing, folder):
    update, parts = sharing.visit(SimpleNamespace(_data={"index": 0}), VISITOR), sharing.page.parts
    board = update[parts.board]
    assert (board.original.answer, board.pruned.answer, update[parts.question]) == (
        "a dog",
        "a cat",
        "What animal is it?",
    )
    assert board.sentence.startswith(f"Made elsewhere, by {MODEL}. ") and DEVICE in update[parts.notice].text
    assert update[parts.picture] is None and update[parts.found].entries()["comparison"]["model"] == MODEL
    assert sharing.page.engine.asked == []


@pytest.mark.slow
def test_a_file_that_was_damaged_since_is_told(tmp_path):
    write_exhibit(tmp_path / "a.json", "What?")
    with gr.Blocks():
        sharing = create_sharing(create_compare(FakeEngine(), load_gallery(tmp_path)))
    (tmp_path / "a.json").write_text("{}")
    update, notice = sharing.visit(SimpleNamespace(_data={"index": 0}), VISITOR), sharing.page.parts.notice
    assert list(update) == [notice] and update[notice].text == "a.json: it is no exported comparison."


@pytest.mark.parametrize("index", [None, -1, 2, "0", 1.0, True])
def test_what_is_not_in_the_gallery_is_told(sharing, index):
    update, notice = sharing.visit(SimpleNamespace(_data={"index": index}), VISITOR), sharing.page.parts.notice
    assert list(update) == [notice] and update[notice].kind == "error"


@pytest.mark.slow
def test_the_setting_and_what_the_page_offers(folder):
    assert Settings.read(["--gallery", str(folder)], {}).gallery == folder
    assert Settings.read([], {"FITPRUNE_GALLERY": str(folder)}).gallery == folder
    choices = [
        part["props"]
        for part in build_demo(FakeEngine(), gallery=folder).config["components"]
        if part["props"].get("elem_id") == "made-elsewhere"
    ]
    assert [each["note"] for each in choices[0]["value"]["choices"]] == [MODEL, "qwen2.5-vl-7b"]


def test_a_space_carries_the_usual_folder(tmp_path, monkeypatch):
    usual = GALLERY.relative_to(GALLERY.parents[1])
    listed = f"app.py\0{usual}/a.json\0"
    monkeypatch.setattr("app.space.subprocess.run", lambda *_, **__: SimpleNamespace(stdout=listed.encode()))
    (tmp_path / usual).mkdir(parents=True)
    write_exhibit(tmp_path / usual / "a.json", "What?")
    assert usual / "a.json" in files_of(tmp_path)
