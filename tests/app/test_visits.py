"""A visit at the model: it waits, works on a thread, and ends at once for whoever goes; the event loop never stands."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest

from app.visitors.line import Line
from app.visitors.visits import Waiting, visit


class Work:
    """Yields numbers; a step waits until `step` is set. Notes who works at the same time."""

    def __init__(self, steps: int = 3) -> None:
        self.steps, self.step, self.ended = steps, threading.Event(), threading.Event()
        self.step.set()
        self.begun = threading.Event()
        self.working = self.most = 0

    def __call__(self, should_stop):
        self.working += 1
        self.most = max(self.most, self.working)
        self.begun.set()
        try:
            for number in range(self.steps):
                self.step.wait()
                if should_stop():
                    return
                yield number
        finally:
            self.working -= 1
            self.ended.set()


async def all_of(line, place, work):
    return [item async for item in visit(line, place, work)]


def without_waits(items):
    return [item for item in items if not isinstance(item, Waiting)]


@pytest.mark.slow
def test_work_comes_after_the_turn_and_the_place_is_given_up():
    async def main():
        line, work = Line(), Work()
        work.step.clear()  # the first has not ended before the others have looked
        tasks = [asyncio.create_task(all_of(line, line.join(name), work)) for name in "abc"]
        assert await asyncio.to_thread(work.begun.wait, 60)
        work.step.set()
        items = await asyncio.gather(*tasks)
        assert [without_waits(each) for each in items] == [[0, 1, 2]] * 3
        assert work.most == 1 and line._places == []
        assert [each[0] for each in items] == [Waiting(0, None), Waiting(1, None), Waiting(2, None)]

    asyncio.run(main())


def test_errors_are_raised_to_whoever_waits_for_the_work():
    def fails(should_stop):
        yield 1
        raise RuntimeError("broken")

    async def main():
        line = Line()
        with pytest.raises(RuntimeError, match="broken"):
            await all_of(line, line.join("a"), fails)
        assert without_waits(await all_of(line, line.join("a"), Work())) == [0, 1, 2]

    asyncio.run(main())


@pytest.mark.slow
def test_what_comes_after_the_place_is_over_is_not_shown():
    """A model looks whether it is to stop after each token: the one that it was at still comes."""

    async def main():
        line = Line()
        place = line.join("a")

        def work(should_stop):
            yield "early"
            while not should_stop():
                time.sleep(0.01)
            yield "late"

        found = []
        async for item in visit(line, place, work):
            found.append(item)
            if item == "early":
                asyncio.get_running_loop().call_later(0.02, line.end, "a")
        assert found == [Waiting(0, None), "early"]

    for _ in range(5):
        asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["close", "cancel", "end"])
def test_the_loop_goes_on_while_the_work_of_somebody_who_left_ends(how):
    """A model that takes long for a step: whoever leaves is rid of it at once, and the next has his turn after it."""

    async def main():
        line, work = Line(), Work(steps=5)
        work.step.clear()
        place = line.join("a")
        items = visit(line, place, work)
        assert await anext(items) == Waiting(0, None)
        task = asyncio.ensure_future(anext(items))
        while not work.begun.is_set():
            await asyncio.sleep(0.01)
        began = time.monotonic()
        if how == "end":
            line.end("a")
            with pytest.raises(StopAsyncIteration):
                await task
        else:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await items.aclose()
        assert time.monotonic() - began < 10 and not work.ended.is_set()
        after = Work()
        other = asyncio.ensure_future(all_of(line, line.join("b"), after))
        await asyncio.sleep(0.3)
        assert not after.begun.is_set()
        work.step.set()
        assert without_waits(await other) == [0, 1, 2]
        assert work.ended.is_set() and line._places == []

    asyncio.run(main())


@pytest.mark.slow
def test_whoever_waits_can_go():
    async def main():
        line, work = Line(), Work()
        first, second, third = (line.join(name) for name in "abc")
        waiting = [asyncio.ensure_future(all_of(line, place, work)) for place in (second, third)]
        await asyncio.sleep(0.2)
        waiting[0].cancel()
        await asyncio.sleep(0.2)
        assert line.ahead(third) == 1
        line.leave(first)
        assert without_waits(await waiting[1]) == [0, 1, 2]

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "ends", "words"),
    [
        ("me", True, "Ending your earlier run…"),
        ("me sweeps", True, "Ending your earlier run…"),
        ("me sweeps", False, "What you began before comes first…"),
        ("another", True, "A run that was stopped is ending…"),
        ("another", False, "1 visitor is before you."),
    ],
)
def test_who_waits_is_told_for_what(first, ends, words):
    """Only others who have not stopped are counted; and the work does not begin before the model is free."""

    async def main():
        line, work = Line(), Work()
        place = line.join(first)
        if ends:
            line.end(first)
        mine = line.join("me")
        items = visit(line, mine, work)
        waiting = await anext(items)
        assert not waiting.is_turn and waiting.in_words() == words and not work.begun.is_set()
        line.leave(place)
        turn = await anext(items)
        assert turn.is_turn and not turn.ahead
        assert [item async for item in items] == [0, 1, 2]

    asyncio.run(main())


def test_a_visit_that_is_closed_at_its_first_item_leaves_no_place_behind():
    async def main():
        line = Line()
        items = visit(line, line.join("a"), Work())
        await anext(items)
        await items.aclose()
        assert line._places == []

    asyncio.run(main())


def test_what_is_shown_instead_comes_after_the_last_that_a_run_had_to_say():
    """Also of a run whose work is done, while its last item is handed over; others are not waited for."""

    async def main():
        line, told = Line(), []
        place = line.join("me")
        items = visit(line, place, Work())
        while (await anext(items)) != 2:  # its work may be over by now, and its place given up
            pass
        line.end("me", replaced=True)
        instead = asyncio.create_task(
            asyncio.to_thread(lambda: line.wait_until_told("me", 20) or told.append("instead"))
        )
        await asyncio.to_thread(line.wait_until_told, "another", 20)
        await asyncio.sleep(0.2)
        told.append("the last")
        assert [item async for item in items] == []
        await instead
        assert told == ["the last", "instead"]

    asyncio.run(main())
