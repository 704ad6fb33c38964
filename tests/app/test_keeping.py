"""What sessions keep of comparisons is bounded in bytes: the oldest are let go, and whoever had one is told."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from app.pages.compare import create_compare, create_sharing
from app.pages.compare.history import create_history
from app.pages.compare.keeping import Exports
from app.settings import Limits
from fitprune_core.report.export import to_entries
from tests.app.fake_engine import GEOMETRY, FakeEngine, make_comparison

VISITOR = SimpleNamespace(session_hash="visitor", client=None)
COMPARISON = make_comparison((120, 90), "What is it?", FakeEngine().recipe_for(60), ("a car", "a bus"))
FOUND = to_entries(COMPARISON, Image.new("RGB", (120, 90), "green"), GEOMETRY)
SIZE = len(Exports(0).keep(FOUND).data or b"")


@pytest.mark.parametrize(("room", "left"), [(3 * SIZE, 3), (3 * SIZE - 1, 2), (SIZE, 1), (0, 1)])
def test_the_oldest_are_let_go_and_the_newest_stays(room, left):
    exports = Exports(room)
    kept = [exports.keep(FOUND) for _ in range(4)]
    assert [each.data is not None for each in kept] == [False] * (4 - left) + [True] * left
    assert kept[-1].entries() == json.loads(json.dumps(FOUND))
    with pytest.raises(ValueError, match="run it again"):
        kept[0].entries()


def test_what_no_session_holds_takes_no_room():
    exports = Exports(2 * SIZE)
    first = exports.keep(FOUND)
    for _ in range(10):
        exports.keep(FOUND)  # its session has the next already
    assert first.data is not None


@pytest.fixture(scope="module")
def sharing():
    engine = FakeEngine(limits=Limits(max_kept_mb=1))
    with gr.Blocks():
        sharing = create_sharing(create_compare(engine))
    assert sharing.page.exports.most == 2**20
    return sharing


def test_whoever_saves_what_was_let_go_is_told(sharing):
    export = Exports(0).keep(FOUND)
    export.data = None
    update = sharing.save(SimpleNamespace(_data={"ending": ".json"}), export)
    assert update[sharing.saver].name == "" and update[sharing.page.parts.notice].kind == "error"
    assert "cannot be saved" in update[sharing.page.parts.notice].text
    with gr.Blocks():
        remembering = create_history(create_compare(FakeEngine()))
    assert remembering.remember(export, {}) == {remembering.history: gr.skip()}


def test_a_file_with_texts_longer_than_any_answer_is_refused(sharing, tmp_path):
    run = replace(COMPARISON.original, answer="x" * 2**18, pieces=(), token_ids=())
    long = replace(COMPARISON, original=run)
    path = tmp_path / "long.json"
    path.write_text(json.dumps(to_entries(long, Image.new("RGB", (120, 90)), GEOMETRY)))
    update, notice = sharing.open(str(path), VISITOR), sharing.page.parts.notice
    assert set(update) == {notice} and "may take 262,144" in update[notice].text
