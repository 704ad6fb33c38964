"""Uploads on their way in: how many, how fast, and how many files at once; and room on the disk for them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.door.bodies import announced, body_bytes
from app.door.queueing import Turns
from app.door.stored import UploadsRoom
from app.visitors.allowance import Allowance
from app.visitors.visits import address_of
from app.words import sentence

UPLOAD = "/gradio_api/upload"
# Uploads of one address that come in at the same time; others wait. So many of the largest size are promised room.
_AT_ONCE = 4
# An upload ends that takes longer than this and the slowest line would take for its bytes.
_SECONDS, _SLOWEST = 60.0, 2**15  # bytes a second
_MOST_FILES = 10  # of one request; a page sends one or two
_BOUNDARY = re.compile(r'boundary="?([^";,]{1,200})')


class FewUploads:
    """Refuses an upload from an address that sent as many requests as one may within a minute, and one of many files;
    ends one that never ends; and makes room on the disk for others.
    """

    def __init__(self, app: ASGIApp, allowance: Allowance, room: UploadsRoom) -> None:
        self.app, self.allowance, self.room = app, allowance, room
        self._turns = Turns(_AT_ONCE, allowance.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(UPLOAD):
            await self.app(scope, receive, send)
            return
        try:
            self.allowance.take("", address_of(Request(scope)))
        except ValueError as error:
            await JSONResponse({"detail": sentence(error)}, 429)(scope, receive, send)
            return
        await self._turns.let_in(self._receive, scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, most = Request(scope), body_bytes(self.room.limits)
        said = announced(request)
        coming = most if said is None else min(said, most)  # Gradio ends it there
        try:
            size = await asyncio.to_thread(self.room.expect, coming)
        except ValueError as error:
            await JSONResponse({"detail": sentence(error)}, 507)(scope, receive, send)
            return
        arriving = _Arriving(receive, _SECONDS + coming / _SLOWEST, _boundary(request))
        try:
            await self.app(scope, arriving, send)
        except ClientDisconnect:
            if arriving.problem:  # else there is nobody to tell
                await JSONResponse({"detail": arriving.problem}, 413)(scope, receive, send)
        finally:
            self.room.arrived(size)


def _boundary(request: Request) -> bytes:
    """What stands between the files of a request; nothing where it does not say."""
    found = _BOUNDARY.search(request.headers.get("content-type", ""))
    return b"--" + found[1].encode("latin-1") if found else b""


class _Arriving:
    """Hands an upload on as it comes, until it has too many files, or takes too long: then nobody is there any more."""

    def __init__(
        self, receive: Receive, seconds: float, boundary: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._receive, self._boundary, self._clock = receive, boundary, clock
        self._ends, self._files, self._tail = clock() + seconds, -1, b""  # the last boundary ends the last file
        self.problem = ""

    async def __call__(self) -> Message:
        """As ASGI's receive."""
        if not self.problem:
            try:
                message = await asyncio.wait_for(self._receive(), max(self._ends - self._clock(), 0.0))
            except TimeoutError:
                self.problem = "This upload took too long. Try again."
            else:
                self._count(message.get("body", b""))
                if self._files > _MOST_FILES:
                    self.problem = f"One request may bring {_MOST_FILES} files."
        return {"type": "http.disconnect"} if self.problem else message

    def _count(self, chunk: bytes) -> None:
        """Count the boundaries up to here; one may lie in two chunks."""
        if self._boundary:
            self._files += (self._tail + chunk).count(self._boundary)
            # Shorter than a boundary, so that none is counted twice.
            self._tail = (self._tail + chunk)[1 - len(self._boundary) :]
