"""How much of the server may be held from one address: whoever fills Gradio's queue, or takes all of its threads, shuts
all others out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.settings import Limits
from app.visitors.visits import address_of

_BURST = 4  # times as many requests as may wait can be on their way to the line, which turns them away in words
_JOIN, _CALL = "/gradio_api/queue/join", "/gradio_api/call/"
# Events that wait for nobody: each takes one of Gradio's forty threads while it is answered.
_AT_ONCE, _RUN = 8, ("/gradio_api/run/", "/gradio_api/api/")


def queue_size(limits: Limits) -> int:
    """How many events may be in Gradio's queue."""
    return _BURST * limits.max_waiting


def _most_of_address(limits: Limits) -> int:
    return _BURST * limits.max_waiting_per_address


def _refusal(most: int) -> str:
    return f"From your address {most:,} requests are not over yet, as many as may be. Try again in a minute."


@dataclass
class _Held:
    """The requests of one address: how many are there, and whose turn it is."""

    turns: asyncio.Semaphore
    count: int = 0


class Turns:
    """Requests of one address that are answered at the same time are few; others of it wait."""

    def __init__(self, at_once: int, limits: Limits) -> None:
        self.at_once, self.most = at_once, _most_of_address(limits)
        self._held: dict[str, _Held] = {}

    async def let_in(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on when it is its turn, or refuse it, in words, where too many wait."""
        try:
            turn = self.of(address_of(Request(scope)))
        except ValueError as error:
            await JSONResponse({"detail": str(error)}, 429)(scope, receive, send)
            return
        async with turn:
            await app(scope, receive, send)

    def of(self, address: str) -> contextlib.AbstractAsyncContextManager[None]:
        """A request's turn, from when it comes until the block ends. Raises ValueError where too many wait."""
        if not address:  # it is not known
            return contextlib.nullcontext()
        held = self._held.get(address)
        if held is not None and held.count >= self.most:
            raise ValueError(_refusal(self.most))
        return self._turn(address)

    @contextlib.asynccontextmanager
    async def _turn(self, address: str) -> AsyncIterator[None]:
        held = self._held.setdefault(address, _Held(asyncio.Semaphore(self.at_once)))
        held.count += 1
        try:
            async with held.turns:
                yield
        finally:
            held.count -= 1
            if not held.count:
                del self._held[address]


class FairQueue:
    """Refuses an event for the queue from an address that has as many there as one may: waiting, being answered, or
    just arriving. Most events of pages are counted by nothing else. Those that are answered at once take turns.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.most = app, _most_of_address(limits)
        self._arriving: Counter[str] = Counter()
        self._turns = Turns(_AT_ONCE, limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif _joins(scope["path"]):
            await self._join(scope, receive, send)
        elif any(mark in scope["path"] for mark in _RUN):
            await self._turns.let_in(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _join(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = address_of(Request(scope))
        queue = scope["app"].get_blocks()._queue
        held = sum(address_of(event.request) == address for event in _events(queue))
        if address and held + self._arriving[address] >= self.most:
            await JSONResponse({"detail": _refusal(self.most)}, 429)(scope, receive, send)
            return
        self._arriving[address] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._arriving[address] -= 1
            if not self._arriving[address]:
                del self._arriving[address]


def _joins(path: str) -> bool:
    return path.rstrip("/").endswith(_JOIN) or _CALL in path


def _events(queue: Any) -> Iterator[Any]:
    """All that Gradio's queue has not done with."""
    for each in queue.event_queue_per_concurrency_id.values():
        yield from each.queue
    for job in queue.active_jobs:
        yield from job or ()
