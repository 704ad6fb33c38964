"""How much of Gradio's queue may be held from one address: whoever fills it shuts all others out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.settings import Limits
from app.visits import address_of

_BURST = 4  # times as many requests as may wait can be on their way to the line, which turns them away in words
_JOIN, _CALL = "/gradio_api/queue/join", "/gradio_api/call/"


def queue_size(limits: Limits) -> int:
    """How many events may be in Gradio's queue."""
    return _BURST * limits.max_waiting


class FairQueue:
    """Refuses an event for the queue from an address that has as many there as one may: waiting, being answered, or
    just arriving. Most events of pages are counted by nothing else.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.most = app, _BURST * limits.max_waiting_per_address
        self._arriving: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _joins(scope["path"]):
            await self.app(scope, receive, send)
            return
        address = address_of(Request(scope))
        queue = scope["app"].get_blocks()._queue
        held = sum(address_of(event.request) == address for event in _events(queue))
        if address and held + self._arriving[address] >= self.most:
            told = (
                f"From your address {self.most:,} requests are not over yet, as many as may be. Try again in a minute."
            )
            await JSONResponse({"detail": told}, 429)(scope, receive, send)
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
