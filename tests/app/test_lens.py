"""What the page shows of a token that is looked at: numbers of the engine, against the library's own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from app.asking.asked import Asked, Subject
from app.asking.sides import Sides
from app.door.uploads import Upload
from app.pages.compare import create_compare
from app.pages.compare.looking import Looking
from app.parts.notice import Message
from app.showing.lens import look_at, looks_of
from app.showing.presentation import idle_board
from app.visitors.visits import looker
from fitprune_core import prune_visual_tokens
from fitprune_core.pruning.paint import Paint
from fitprune_core.run.answer import UNPRUNED, Way
from fitprune_core.run.looking import look
from tests.app.fake_engine import FakeEngine, tokens_of
from tests.marks import slow
from tests.tiny import random_picture

pytestmark = pytest.mark.usefixtures("one_round")

VISITOR = SimpleNamespace(session_hash="visitor", client=None)
QUESTION = "What is it?"


def subject_of(ids, pieces, sides=Sides(), picture=None):  # noqa: B008
    return Subject(Asked(picture, QUESTION, 40, None, sides), ids, pieces)


@pytest.mark.parametrize(
    ("one", "other", "at"),
    [((1, 2, 3), (1, 5, 3), 1), ((1, 2), (1, 2), 0), ((4, 2), (1, 2), 0), ((1, 2, 9), (1, 9), 1)],
)
def test_the_first_difference(one, other, at):
    assert subject_of((one, other), ((), ())).first_difference() == at


@pytest.mark.slow
def test_a_look_is_the_librarys(tiny_engine):
    engine, picture = tiny_engine, random_picture()
    *_, done = engine.compare(picture, QUESTION, 40, against=engine_side("random:seed=2", 20))
    sides = Sides("random:seed=2", "fitprune", 20)
    asked = Asked(None, QUESTION, 40, None, sides)
    (lens,) = look_at(engine, picture, Subject.of(asked, done), 1, 1, lambda: False, clicked=True)
    ways = (Way.of(engine.recipe_for(20), "random:seed=2"), Way.of(engine.recipe_for(40), "fitprune"))
    expected = look(engine.model, engine.processor, picture, QUESTION, ways, done.pruned.token_ids[:1])
    assert [side.name for side in lens.sides] == ["Random(seed=2)", "FitPrune"]
    for side, sight in zip(lens.sides, expected.sights, strict=True):
        assert [text for text, _ in side.likeliest] == [text for text, *_ in sight.likeliest]
        assert [float(share) for _, share in side.likeliest] == pytest.approx(
            [share for *_, share in sight.likeliest], abs=1e-6
        )
        assert side.margin == pytest.approx(sight.margin, abs=1e-5)
    assert lens.divergence == pytest.approx(expected.divergence, abs=1e-5)
    assert lens.token == done.pruned.pieces[1].strip() and lens.before == done.pruned.pieces[0]
    with prune_visual_tokens(engine.model, ways[1].recipe) as trace:
        engine.model(**asked_inputs(engine, picture))
    there = [(np.array(row) >= 0).nonzero()[0].tolist() for row in lens.looks.levels]
    assert there == [list(range(36)), *[kept.tolist() for kept in trace.kept[:-1]]]


@pytest.mark.slow
def test_painted_tokens_stay_in_the_answer_and_in_the_look(tiny_engine):
    engine, picture, paint = tiny_engine, random_picture(), Paint((0, 35), (1, 2, 3))
    asked = Asked(None, QUESTION, 40, None, Sides("fitprune", "fitprune"), paint)
    *_, done = engine.compare(picture, QUESTION, 40, **asked.ways())
    assert done.original.visual_gflops == done.pruned.visual_gflops and done.removed == done.against.removed
    assert all({0, 35} <= set(kept) for kept in done.kept) and not {1, 2, 3} & set(done.kept[-1])
    (lens,) = look_at(engine, picture, Subject.of(asked, done), 1, 0, lambda: False, clicked=True)
    there = [(np.array(row) >= 0).nonzero()[0].tolist() for row in lens.looks.levels]
    assert there[1:] == [list(kept) for kept in done.kept[:-1]]
    with pytest.raises(ValueError, match="must stay, but layer"):
        list(engine.compare(picture, QUESTION, 40, paint=Paint(tuple(range(36)))))


def engine_side(method, percent):
    from app.engine import Side

    return Side(method, percent)


def asked_inputs(engine, picture):
    from fitprune_core import build_inputs

    return build_inputs(engine.processor, picture, QUESTION)


def test_a_map_is_in_steps_of_its_layers_largest():
    attention = np.array([[0.1, 0.2, 0.05], [np.nan, 0.0, 0.0], [np.nan] * 3])
    looks = looks_of(attention)
    assert looks.levels == [[128, 255, 64], [-1, 0, 0], [-1, -1, -1]]
    assert looks.most == [0.2, 0.0, 0.0] and looks.share == [0.35, 0.0, 0.0]


def test_a_stopped_look_shows_nothing(tiny_engine):
    subject = subject_of(((1,), (1,)), (("a",), ("a",)))
    assert list(look_at(tiny_engine, random_picture(), subject, 0, 0, lambda: True, clicked=True)) == []


@pytest.fixture
def page():
    with gr.Blocks():
        return create_compare(FakeEngine(("a red car", "a blue car")))


def looked(page, subject, before=None, **event):
    async def main():
        run = Looking(page).look(SimpleNamespace(_data=event), subject, before, VISITOR)
        return [update async for update in run]

    return asyncio.run(main())


def run_of(page, tmp_path):
    random_picture().save(tmp_path / "p.png")

    async def main():
        picture = Upload("p.png", tmp_path / "p.png")
        return [u async for u in page.run(picture, QUESTION, 60, None, idle_board(60).model_dump(), VISITOR)]

    return asyncio.run(main())


def test_a_run_looks_where_the_answers_part_and_a_click_where_it_says(page, tmp_path):
    updates, parts = run_of(page, tmp_path), page.parts
    last = updates[-1]
    assert page.engine.looked == [tokens_of("a")] and last[parts.lens].index == 1 and not last[parts.lens].clicked
    assert last[parts.board].can_look
    (update,) = looked(page, last[parts.subject], side=1, index=2)
    lens = update[parts.lens]
    assert page.engine.looked[-1] == tokens_of("a", "blue")
    assert (lens.side, lens.index, lens.token, lens.clicked) == (1, 2, "car", True)


@pytest.mark.slow
def test_words_about_waiting_and_an_earlier_failure_go_when_there_is_something_to_see(page, tmp_path):
    subject, notice = run_of(page, tmp_path)[-1][page.parts.subject], page.parts.notice
    (update,) = looked(page, subject, Message(text="Timing: so."), side=1, index=2)
    assert notice not in update
    (update,) = looked(page, subject, Message(text="No such token.", kind="error"), side=1, index=2)
    assert update[notice].text == ""
    place = page.engine.line.join("somebody else")

    async def main():
        event = SimpleNamespace(_data={"side": 1, "index": 2})
        found = []
        async for update in Looking(page).look(event, subject, Message(text="Timing: so."), VISITOR):
            found.append(update)
            page.engine.line.leave(place)
        return found

    waiting, last = asyncio.run(main())
    assert "before you" in waiting[notice].text and last[notice].text == "Timing: so." and last[page.parts.lens].token


NOWHERE = [
    {"side": 2, "index": 0},
    {"side": True, "index": 0},
    {"side": 1.0, "index": 0},
    {"side": 0, "index": "1"},
    {},
]


@pytest.mark.parametrize("event", [{"side": 0, "index": 99}, {"side": 1, "index": True}, *slow(*NOWHERE)])
def test_tokens_that_are_not_there_are_refused(page, tmp_path, event):
    subject = run_of(page, tmp_path)[-1][page.parts.subject]
    (update,) = looked(page, subject, **event)
    assert "no such token" in update[page.parts.notice].text and len(page.engine.looked) == 1


def test_a_comparison_from_a_file_has_no_tokens_to_look_at(page):
    (update,) = looked(page, None, side=0, index=0)
    assert "run it here" in update[page.parts.notice].text


def test_a_look_ends_with_whatever_else_the_visitor_had(page, tmp_path):
    subject = run_of(page, tmp_path)[-1][page.parts.subject]
    place = page.engine.line.join(looker(VISITOR))
    page.end(VISITOR)
    assert place.is_over()
    page.engine.line.leave(place)
    assert looked(page, subject, side=0, index=0)


def test_the_original_is_looked_at_unpruned(tiny_engine):
    (looked,) = tiny_engine.look(random_picture(), QUESTION, 40, ())
    expected = look(tiny_engine.model, tiny_engine.processor, random_picture(), QUESTION, (UNPRUNED, UNPRUNED))
    assert np.array_equal(looked.sights[0].attention, expected.sights[0].attention)
