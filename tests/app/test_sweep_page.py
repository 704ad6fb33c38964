"""The Sweep page's handlers, called as plain Python; above all, how it and Compare end each other."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from app.asking.scenes import KnownAnswer
from app.door.uploads import Upload
from app.pages.compare import ComparePage, create_compare
from app.pages.sweep import SweepPage, create_sweep
from app.parts.notice import Message
from app.showing.presentation import idle_board
from tests.app.fake_engine import FakeEngine, make_comparison

pytestmark = pytest.mark.slow

VISITOR = SimpleNamespace(session_hash="visitor", client=None)


@pytest.fixture(scope="module")
def laid_out():
    """Both pages over components that all tests share."""
    engine = FakeEngine()
    with gr.Blocks():
        with gr.Tabs() as tabs:
            compare = create_compare(engine)
            sweep = create_sweep(engine, compare, tabs)
        return compare, sweep


@pytest.fixture
def pages(laid_out):
    """Both pages of one engine that takes its time."""
    engine = FakeEngine(("a red car", "a blue car"), delay=0.1)
    compare, sweep = ComparePage(engine, laid_out[0].examples), SweepPage(engine)
    compare.parts = laid_out[0].parts
    for name in ("grid", "notice", "stop_button", "asked"):
        setattr(sweep, name, getattr(laid_out[1], name))
    return compare, sweep


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (96, 96), "red").save(tmp_path / "scene.png")
    return Upload("scene.png", tmp_path / "scene.png")


def sweeping(sweep, picture, methods=("fitprune", "random"), percents=(20, 60), more="", seed=5, others=()):
    return sweep.run(picture, "What is it?", seed, methods, others, percents, more, VISITOR)


def comparing(compare, picture):
    return compare.run(picture, "What is it?", 60, None, idle_board(60).model_dump(), VISITOR)


def test_a_sweep_fills_the_grid_and_is_done(pages, picture):
    compare, sweep = pages

    async def main():
        return [update async for update in sweeping(sweep, picture)]

    updates = asyncio.run(main())
    cells = [cell for line in updates[-2][sweep.grid].cells for cell in line]
    assert len(cells) == 4 and all(cell.answer == "a red car" for cell in cells)
    assert updates[-1][sweep.notice].text.startswith("Done.")
    said = [update[sweep.notice].text for update in updates if sweep.grid in update]
    assert said[0] == "Answering…" and re.fullmatch(r"2 of 4 answered, about \d+ s left", said[2])
    last = updates[-2][sweep.grid]
    run = make_comparison((96, 96), "What is it?", sweep.engine.recipe_for(60), ("a red car", "a red car"))
    assert (last.cells[0][1].margin, last.margin) == (run.pruned.margin, run.original.margin)


def test_a_stop_is_not_called_done(pages, picture):
    compare, sweep = pages

    async def main():
        found = []
        async for update in sweeping(sweep, picture):
            found.append(update)
            grid = update.get(sweep.grid)
            if grid and any(cell for line in grid.cells for cell in line):
                sweep.stop(VISITOR)
        return found

    *shown, last = asyncio.run(main())
    assert last[sweep.notice] == Message(text="Stopped.") and sweep.grid not in last  # what was answered stays
    cells = [cell for line in shown[-1][sweep.grid].cells for cell in line]
    assert 1 <= sum(cell is not None for cell in cells) < 4


@pytest.mark.parametrize("first", ["compare", "sweep"])
def test_whichever_page_ends_the_other_s_run_that_one_says_so(pages, picture, first):
    compare, sweep = pages

    async def main():
        begun, after = comparing(compare, picture), sweeping(sweep, picture)
        if first == "sweep":
            begun, after = after, begun
        started = [await anext(begun)]
        later = asyncio.ensure_future(all_of(after))
        return started + await all_of(begun), await later

    ended, went_on = asyncio.run(main())
    if first == "sweep":
        assert ended[-1][sweep.notice].text == "Stopped."
        assert went_on[-1][compare.parts.board].state == "done"
    else:
        assert ended[-1][compare.parts.notice].text == "Stopped."
        assert ended[-1][compare.parts.board].state == idle_board(60).state
        assert went_on[-1][sweep.notice].text.startswith("Done.")


async def all_of(updates):
    return [update async for update in updates]


def test_whoever_leaves_ends_both(pages, picture):
    compare, sweep = pages

    async def main():
        updates = sweeping(sweep, picture)
        await anext(updates)
        compare.leave(VISITOR)
        return await all_of(updates)

    assert asyncio.run(main())[-1][sweep.notice].text == "Stopped."


def test_a_cell_opens_with_the_picture_and_question_that_were_swept(pages, picture):
    compare, sweep = pages

    async def main():
        return await all_of(sweeping(sweep, picture))

    [asked] = {update[sweep.asked] for update in asyncio.run(main()) if sweep.asked in update}
    event = SimpleNamespace(_data={"method": "random", "percent": 20})
    opened = sweep.open_cell(compare, event, asked)
    parts = compare.parts
    assert (opened[parts.picture], opened[parts.question], opened[parts.seed]) == (str(picture.path), "What is it?", 5)
    assert opened[parts.percent] == 20 and opened[parts.sides].right == "random"
    picture.path.unlink()
    with pytest.raises(gr.Error, match="not kept any more"):
        sweep.open_cell(compare, event, asked)


def test_stop_can_be_pressed_while_something_runs_and_not_else(pages, picture):
    compare, sweep = pages

    async def main():
        ended = [update async for update in sweeping(sweep, picture)]
        refused = [update async for update in sweeping(sweep, picture, methods=())]
        first = sweeping(sweep, picture)
        begun = [await anext(first)]
        return ended, refused, begun, asyncio.ensure_future(all_of(sweeping(sweep, picture))), first

    async def all_three():
        ended, refused, begun, second, first = await main()
        return ended, refused, begun + await all_of(first), await second

    ended, refused, replaced, second = asyncio.run(all_three())

    def said(updates):
        return [update[sweep.stop_button].interactive for update in updates if sweep.stop_button in update]

    assert said(ended) == said(second) == [True, False] and said(refused) == [False]
    assert said(replaced) == [True]  # the one that came after says when it is over


def test_answers_are_marked_where_the_true_one_is_known(pages, picture):
    compare, sweep = pages
    sweep.engine.answers = ("a red car", "a blue car")

    async def main(seed):
        return (await all_of(sweeping(sweep, picture, seed=seed)))[-2][sweep.grid]

    known = asyncio.run(main(KnownAnswer("What is it?", "A red car")))
    assert known.right is True and {cell.right for line in known.cells for cell in line} <= {True, False}
    assert all(cell.right == (cell.answer == "a red car") for line in known.cells for cell in line)
    unknown = asyncio.run(main(None))
    assert unknown.right is None and {cell.right for line in unknown.cells for cell in line} == {None}


def test_methods_with_options_are_swept_and_say_where_they_drop(pages, picture):
    compare, sweep = pages

    async def main(more, percents=(60, 90)):
        return await all_of(sweeping(sweep, picture, (), percents, more, others=("fastv",)))

    updates = asyncio.run(main("fastv:layer=1 random:seed=2"))
    grid = updates[-2][sweep.grid]
    assert grid.methods == ["fastv", "fastv:layer=1", "random:seed=2"]
    assert grid.placed == ["after layer 2, as in its paper; after layer 1 at 90 %", "after layer 1", ""]
    opened = sweep.open_cell(compare, SimpleNamespace(_data={"method": "fastv:layer=1", "percent": 60}), None)
    chosen = opened[compare.parts.sides]
    assert (chosen.right, chosen.right_options) == ("fastv", "layer=1")
    (told,) = asyncio.run(main("fastv:layer=5"))
    assert "cannot save 90 %" in told[sweep.notice].text and "after layer 5" in told[sweep.notice].text


@pytest.mark.parametrize("method", [None, 5, "guess", ["fastv"], "fastv:layer=0", "x" * 300])
def test_a_cell_of_no_method_is_not_opened(pages, method):
    compare, sweep = pages
    with pytest.raises(gr.Error):
        sweep.open_cell(compare, SimpleNamespace(_data={"method": method, "percent": 60}), None)
