"""A visit at the model: wait in line, then what the work yields, without ever holding up the event loop.

The work runs on a thread that gives the place up when it ends, so that two never work at once; whoever waits for it
only looks on, and can go at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ipaddress
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any

from gradio.context import LocalContext

from app.visitors.allowance import Asker
from app.visitors.line import Line, Place

# Seconds between two looks at whether it is somebody's turn, or they have gone.
_LOOK = 0.1
_HELD = {
    "yours": "What you began before comes first…",
    "ended": "Ending your earlier run…",
    "another": "A run that was stopped is ending…",
}
_NOTHING: contextlib.nullcontext[None] = contextlib.nullcontext()


@dataclass(frozen=True)
class Waiting:
    """How many are before a visitor, and in how many seconds it may be their turn, if that is known.

    held_by: nobody else is, but it is not their turn yet, for the model is held by something of their own that goes on
    ("yours"), that ended ("ended"), or by what another ended ("another"); else "".
    """

    ahead: int
    seconds: float | None
    held_by: str = ""

    @property
    def is_turn(self) -> bool:
        """Whether the work begins now."""
        return not self.ahead and not self.held_by

    def in_words(self) -> str:
        """ "2 visitors are before you: your turn comes in about 12 s."."""
        if self.held_by:
            return _HELD[self.held_by]
        who = "1 visitor is" if self.ahead == 1 else f"{self.ahead} visitors are"
        if self.seconds is None:
            return f"{who} before you."
        return f"{who} before you: your turn comes in about {max(self.seconds, 1):.0f} s."


async def visit(
    line: Line,
    place: Place,
    work: Callable[[Callable[[], bool]], Generator[Any, None, None]],
    meanwhile: contextlib.AbstractContextManager[Any] = _NOTHING,
) -> AsyncGenerator[Any, None]:
    """Yield `Waiting` until it is a place's turn, at least once, then what `work(should_stop)` yields on a thread.

    meanwhile: entered while it lasts. It ends without a further item once the place is over, or the visitor is gone.
    Raises what the work raises, and ValueError when it takes longer than a request may.
    """
    with meanwhile, line.telling(place):
        async with contextlib.aclosing(_visit(line, place, work)) as items:
            async for item in items:
                yield item


async def _visit(line: Line, place: Place, work: Callable) -> AsyncGenerator[Any, None]:
    is_gone = _listener()
    begun = False
    try:
        async for waiting in _wait(line, place, is_gone):
            yield waiting
        if place.is_over():
            return
        items: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        _start(line, place, work, items)
        begun = True
        while not place.is_over() and not is_gone():
            line.check_time(place)
            with contextlib.suppress(TimeoutError):
                kind, item = await asyncio.wait_for(items.get(), _LOOK)
                if kind == "end":
                    return
                if kind == "error":
                    raise item
                if place.is_over():  # what comes late must not be shown over what was shown since
                    return
                yield item
    finally:
        if not begun:
            line.leave(place)
        place.end()


async def _wait(line: Line, place: Place, is_gone: Callable[[], bool]) -> AsyncGenerator[Waiting, None]:
    told = None
    while not place.is_over():
        before, seconds = line.before(place), line.expected(place)
        own = [other for other in before if _session(other) == _session(place)]
        ahead = sum(not other.is_over() for other in before if other not in own)
        held = "" if ahead or not before else "another" if not own else "ended" if own[0].is_over() else "yours"
        waiting = Waiting(ahead, None if seconds is None else float(round(seconds)), held)
        if waiting != told:
            told = waiting
            yield waiting
        if not before:
            return
        await asyncio.sleep(_LOOK)
        if is_gone():
            place.end()


def _session(place: Place) -> str:
    """Whose place it is, whatever it is for: see `looker` and `sweeper`."""
    return place.visitor.partition(" ")[0]


def _start(line: Line, place: Place, work: Callable, items: asyncio.Queue[tuple[str, Any]]) -> None:
    """Begin the work on a thread, in the context of this request."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()

    def tell(kind: str, item: Any = None) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(items.put_nowait, (kind, item))

    def run() -> None:
        try:
            with contextlib.closing(work(place.is_over)) as results:
                for item in results:
                    tell("item", item)
        except BaseException as error:
            line.leave(place)
            tell("error", error)
        else:
            line.leave(place)
            tell("end")

    threading.Thread(target=context.run, args=(run,), name="visit", daemon=True).start()


def _listener() -> Callable[[], bool]:
    """A function that says whether whoever began the event that is being handled has stopped listening to it.

    Gradio's queue notes it, but looks at it only between two items of a generator.
    """
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    jobs = [] if blocks is None else [job for job in blocks._queue.active_jobs if job]
    event = next((event for job in jobs for event in job if event._id == event_id), None)
    return lambda: event is not None and not event.alive


def asker_of(request: Any) -> Asker:
    """Who sent a request of Gradio's."""
    return Asker(str(request.session_hash), address_of(request))


def looker(request: Any) -> str:
    """A visitor in the line who looks at a token, beside their run, which goes on."""
    return f"{request.session_hash} looks"


def sweeper(request: Any) -> str:
    """A visitor in the line who sweeps. Their run on Compare ends then, and says so, and the other way round."""
    return f"{request.session_hash} sweeps"


def address_of(request: Any) -> str:
    """Where a visitor comes from, or "" where that is not known.

    Of IPv6 it is the network of 64 bits, all of whose addresses one owner has.
    """
    client = getattr(request, "client", None)
    host = str(getattr(client, "host", "") or "")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped or ipaddress.ip_network((int(address), 64), strict=False))
