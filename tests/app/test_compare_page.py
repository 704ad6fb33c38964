"""The page's handlers, called as plain Python."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from app.asking.sides import Sides
from app.door.uploads import Upload
from app.engine import Side
from app.interface import build_demo
from app.pages.compare import ComparePage, create_compare
from app.parts.curves import curve_of
from app.parts.sides import Chosen
from app.showing.presentation import idle_board
from fitprune_core import Comparison
from fitprune_core.pruning.paint import Paint
from tests.app.fake_engine import FakeEngine


def visitor(name: str) -> SimpleNamespace:
    return SimpleNamespace(session_hash=name, client=None)


VISITOR = visitor("visitor")


@pytest.fixture(scope="module")
def laid_out():
    with gr.Blocks():
        return create_compare(FakeEngine())


@pytest.fixture()
def page(laid_out):
    """A page of its own, over components that all share."""
    page = ComparePage(FakeEngine(("a red car", "a blue car")), laid_out.examples)
    page.parts = laid_out.parts
    return page


@pytest.fixture(scope="module")
def config():
    """What the browser is told of the whole app."""
    return build_demo(FakeEngine()).config


@pytest.fixture()
def picture(tmp_path):
    Image.new("RGB", (96, 96), "red").save(tmp_path / "scene.png")
    return Upload("scene.png", tmp_path / "scene.png")


def results(page: ComparePage, picture, question="What is it?", percent=60, shown=None):
    async def main():
        run = page.run(picture, question, percent, None, shown or idle_board(60).model_dump(), VISITOR)
        return [update async for update in run]

    return asyncio.run(main())


def test_a_run_streams_and_ends_with_board_and_trace(page, picture):
    updates = results(page, picture)
    boards = [update[page.parts.board] for update in updates]
    assert [board.state for board in boards][0] == "running" and boards[-1].state == "done"
    assert boards[-1].verdict == "different"
    assert sum(page.parts.scrubber in update for update in updates) == 1
    assert updates[-1][page.parts.shown] == boards[-1].model_dump()


def test_any_two_sides_are_compared_and_named(page, picture):
    sides = Sides("random:seed=3", "fastv", 40)

    async def main():
        run = page.run(picture, "What?", 60, None, idle_board(60).model_dump(), VISITOR, Chosen.of(sides))
        return [update async for update in run]

    updates, parts = asyncio.run(main()), page.parts
    assert page.engine.sides == [(Side("random:seed=3", 40), "fastv")]
    board = updates[-1][parts.board]
    assert (board.original.name, board.pruned.name, board.sides) == ("Random(seed=3)", "FastV", sides.key)
    trace = next(update[parts.scrubber] for update in updates if parts.scrubber in update)
    assert (trace.name, trace.against.name) == ("FastV 60 %", "Random(seed=3) 40 %")


def test_a_recipe_of_the_visitors_is_compared(page, picture):
    mine = page.engine.recipe_for(40)
    curve = curve_of(mine, "uploaded").model_copy(update={"way": "mine"})
    chosen = Chosen.of(Sides(right="mine", own={"mine": mine}), {"mine": mine})

    async def main(own):
        run = page.run(picture, "What?", 60, None, idle_board(60).model_dump(), VISITOR, chosen, own)
        return [update async for update in run]

    board = (updates := asyncio.run(main([curve.model_dump()])))[-1][page.parts.board]
    assert (board.pruned.name, board.pruned.percent, board.percent) == ("mine", 40, 60)
    assert next(update for update in updates if page.parts.scrubber in update)[page.parts.scrubber].name == "mine"
    found = updates[-1][page.parts.found].entries()["comparison"]
    assert found["recipe"] == mine.to_dict() and found["method"] == "fitprune"
    (told,) = asyncio.run(main([]))
    assert "not kept any more" in told[page.parts.notice].text


def painted(page, picture, event, chosen=None):
    async def main():
        shown = idle_board(60).model_dump()
        chosen_or_usual = chosen or Chosen.of(Sides())
        run = page.run_painted(
            SimpleNamespace(_data=event), picture, "What?", 60, None, shown, VISITOR, chosen_or_usual
        )
        return [update async for update in run]

    return asyncio.run(main())


def test_painted_patches_reach_the_right_side_or_the_only_one_that_prunes(page, picture):
    event = {"stay": [7, 5], "go": [9]}
    board = painted(page, picture, event)[-1][page.parts.board]
    assert page.engine.painted[-1] == Paint((5, 7), (9,))
    assert board.pruned.name == "FitPrune, painted" and board.original.name == "Original"
    assert board.sentence.startswith("2 were told to stay and 1 to go; ")
    painted(page, picture, event, Chosen.of(Sides("random", "original")))
    against, method = page.engine.sides[-1]
    assert (against.paint, method) == (Paint((5, 7), (9,)), "original") and page.engine.painted[-1] == Paint()


@pytest.mark.parametrize("event", [{"stay": [1], "go": [1]}, {"stay": ["a"]}, {"go": [-1]}, {"stay": 7}])
def test_paint_that_cannot_be_is_told(page, picture, event):
    (told,) = painted(page, picture, event)
    assert told[page.parts.notice].kind == "error" and page.engine.painted == []


def test_sides_that_cannot_be_are_told(page, picture):
    async def main():
        chosen = Chosen(left="random", left_options="size=3")
        run = page.run(picture, "What?", 60, None, idle_board(60).model_dump(), VISITOR, chosen)
        return [update async for update in run]

    (told,) = asyncio.run(main())
    assert told[page.parts.notice].kind == "error" and "no option 'size=3'" in told[page.parts.notice].text


@pytest.mark.parametrize(("question", "percent"), [("", 60), ("x" * 100_000, 60), ("What?", 95), ("What?", None)])
def test_bad_input_is_told_and_the_result_from_before_stays(page, picture, question, percent):
    before = results(page, picture)[-1][page.parts.shown]
    updates = results(page, picture, question, percent, shown=before)
    assert len(updates) == 1
    assert updates[0][page.parts.notice].kind == "error"
    assert updates[0][page.parts.board].model_dump() == before
    assert page.parts.scrubber not in updates[0]


def test_no_picture_is_told(page):
    assert "no picture" in results(page, None)[-1][page.parts.notice].text


@pytest.mark.parametrize("error", [MemoryError("out of memory"), RuntimeError("the device is gone")])
def test_a_model_that_fails_midway_is_told_and_the_next_run_works(page, picture, error):
    before = results(page, picture)[-1][page.parts.shown]
    page.engine.error = error
    last = results(page, picture, shown=before)[-1]
    assert last[page.parts.notice].kind == "error"
    assert str(error)[1:] in last[page.parts.notice].text
    assert last[page.parts.board].model_dump() == before
    page.engine.error = None
    assert results(page, picture)[-1][page.parts.board].state == "done"


def test_stop_ends_a_run_and_brings_back_what_was_shown(page, picture):
    before = results(page, picture)[-1][page.parts.shown]

    async def main():
        run = page.run(picture, "What is it?", 60, None, before, VISITOR)
        assert (await anext(run))[page.parts.board].state == "running"
        page.stop(VISITOR)
        return [update async for update in run][-1]

    last = asyncio.run(main())
    assert last[page.parts.notice].text == "Stopped."
    assert last[page.parts.board].model_dump() == before
    assert page.parts.scrubber not in last


@pytest.mark.slow
def test_a_new_run_takes_the_place_of_the_old_one_which_says_no_more(page, picture):
    shown, parts = idle_board(60).model_dump(), page.parts

    async def main():
        old = page.run(picture, "What is old?", 60, None, shown, VISITOR)
        await anext(old)
        new = page.run(picture, "What is new?", 60, None, shown, VISITOR)
        first = await anext(new)
        late = [update async for update in old]
        return late, [first, *[update async for update in new]]

    late, updates = asyncio.run(main())
    assert late == []
    assert updates[-1][parts.board].state == "done" and updates[-1][parts.board].question == "What is new?"
    assert page.engine.most == 1


@pytest.mark.slow
@pytest.mark.parametrize("runs", [2, 5])
def test_run_several_times_then_stop_leaves_nothing_running(page, picture, runs):
    """Runs begun at once by one visitor, then Stop: the last says that it was stopped, the others say nothing."""
    shown, parts = idle_board(60).model_dump(), page.parts
    page.engine.delay = 0.2

    async def collect(run):
        return [update async for update in run]

    async def main():
        begun = [
            asyncio.ensure_future(collect(page.run(picture, "What?", 60, None, shown, VISITOR))) for _ in range(runs)
        ]
        await asyncio.sleep(0.3)
        page.stop(VISITOR)
        return await asyncio.gather(*begun)

    *others, last = asyncio.run(main())
    assert last[-1][parts.notice].text == "Stopped." and last[-1][parts.board].state == "idle"
    assert not any(update[parts.notice].text == "Stopped." for updates in others for update in updates)
    assert wait_until(lambda: page.engine.line._places == []) and page.engine.most == 1


def test_one_visitor_cannot_stop_another(page, picture):
    async def main():
        run = page.run(picture, "What is it?", 60, None, idle_board(60).model_dump(), VISITOR)
        await anext(run)
        page.stop(visitor("somebody else"))
        return [update async for update in run][-1]

    assert asyncio.run(main())[page.parts.board].state == "done"


@pytest.mark.slow
def test_whoever_waits_is_told_his_place(page, picture):
    shown, parts = idle_board(60).model_dump(), page.parts
    results(page, picture)  # so that it is known how long a turn takes

    async def main():
        first = page.run(picture, "What?", 60, None, shown, VISITOR)
        await anext(first)
        second = page.run(picture, "What?", 60, None, shown, visitor("another"))
        waiting = await anext(second)
        return waiting, [update async for update in first], [update async for update in second]

    waiting, first, second = asyncio.run(main())
    assert waiting[parts.notice].text.startswith("1 visitor is before you: your turn comes in about ")
    assert waiting[parts.board].original.state == "queued"
    assert first[-1][parts.board].state == second[-1][parts.board].state == "done"


@pytest.mark.slow
def test_the_picture_is_opened_in_the_turn_and_not_for_whoever_stopped(page, picture, monkeypatch):
    opened, shown = [], idle_board(60).model_dump()
    monkeypatch.setattr(Upload, "open", lambda self: opened.append(self) or Image.new("RGB", (96, 96)))

    async def main():
        first = page.run(picture, "What?", 60, None, shown, VISITOR)
        await anext(first)
        others = [page.run(picture, "What?", 60, None, shown, visitor(str(number))) for number in range(5)]
        for other in others:
            await anext(other)
        assert len(opened) <= 1
        for number, other in enumerate(others):
            page.stop(visitor(str(number)))
            await anext(other)
            await other.aclose()
        return [update async for update in first]

    assert asyncio.run(main())[-1][page.parts.board].state == "done"
    assert len(opened) == 1


def test_answers_come_before_the_times_and_stay_when_these_are_stopped(page, picture):
    updates, parts = results(page, picture), page.parts
    boards = [update[parts.board] for update in updates]
    early = next(board for board in boards if board.state == "measuring")
    done = boards[-1]
    assert early.verdict == done.verdict and early.truth == done.truth
    timed = {"Prefill", "Per token", "Total time"}
    assert {row.label for row in early.rows if row.pending} == timed and not any(row.pending for row in done.rows)
    assert parts.scrubber in updates[boards.index(early)] and parts.scrubber not in updates[-1]

    async def main():
        run = page.run(picture, "What?", 60, None, idle_board(60).model_dump(), VISITOR)
        async for update in run:
            if update[parts.board].state == "measuring":
                page.stop(VISITOR)
                return [update, *[update async for update in run]]

    page.engine.measuring = 1.0
    measuring, last = asyncio.run(main())
    kept = last[parts.board]
    assert kept.state == "done" and kept.verdict == "different"
    assert "Times" in {row.label for row in kept.rows} and not timed & {row.label for row in kept.rows}
    assert last[parts.notice].text == "Stopped before the times were measured."
    assert measuring[parts.shown] == kept.model_dump()
    assert kept.can_look
    assert measuring[parts.found] is measuring[parts.subject] is None  # what was saved before is not this comparison
    assert last[parts.found].entries()["comparison"]["pruned"]["answer"] == "a blue car"
    assert last[parts.found].entries()["comparison"]["question"] == last[parts.subject].asked.question == "What?"


def test_what_fails_while_times_are_measured_is_kept_and_said_to_be_this_one(page, picture, monkeypatch):
    compare = page.engine.compare

    def failing(*args, **options):
        for item in compare(*args, **options):
            if isinstance(item, Comparison):
                raise RuntimeError("the clock is gone")
            yield item

    monkeypatch.setattr(page.engine, "compare", failing)
    last, parts = results(page, picture)[-1], page.parts
    pruned = last[parts.found].entries()["comparison"]["pruned"]
    assert last[parts.board].pruned.answer == "a blue car" == pruned["answer"]
    assert "clock is gone" in last[parts.notice].text and "times were not measured" in last[parts.notice].text


@pytest.mark.parametrize("error", [MemoryError("no memory for a map"), RuntimeError("no memory for a map")])
def test_a_look_that_nobody_asked_for_costs_no_measurement_where_it_fails(page, picture, monkeypatch, caplog, error):
    def failing(*_, **__):
        raise error
        yield

    monkeypatch.setattr(page.engine, "look", failing)
    last, parts = results(page, picture)[-1], page.parts
    assert last[parts.board].state == "done" and "Times" not in {row.label for row in last[parts.board].rows}
    assert (
        last[parts.notice].kind != "error"
        and last[parts.found].entries()["comparison"]["paired"]
        and parts.lens not in last
    )
    assert "no memory for a map" in caplog.text


def test_nothing_runs_over_what_is_said_of_a_link_that_leads_nowhere(page):
    request = SimpleNamespace(query_params={"example": "99", "question": "x"}, session_hash="visitor", client=None)
    update = page.arrive(request)
    assert "no such example" in update[page.parts.notice].text and update[page.parts.is_ready] is True


def wait_until(holds) -> bool:
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_helpers_of_the_page_are_private(config):
    public = [entry["api_name"] for entry in config["dependencies"] if entry["api_visibility"] == "public"]
    assert public == ["compare", "sweep"]


def test_moving_the_slider_asks_no_server(config):
    slider = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "budget")
    moves = [entry for entry in config["dependencies"] if [slider, "change"] in map(list, entry["targets"])]
    assert moves and not any(entry["backend_fn"] for entry in moves)
    budget = next(part for part in config["components"] if part["props"].get("elem_id") == "preview")
    assert len(budget["props"]["value"]["tokens"]) == 91


def test_templates_hold_no_text_of_visitors(config):
    for part in config["components"]:
        template = part["props"].get("html_template", "")
        assert "{{" not in template and "${" not in template
