"""What the server takes before anything looks at a request: its size, and nothing that would have it fetch the web."""

from __future__ import annotations

from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.uploads import MAX_UPLOAD_BYTES

# A picture of the largest size as a data URL, and room for the rest of a request.
MAX_BODY_BYTES = MAX_UPLOAD_BYTES * 4 // 3 + 2**20
_FILE_OF_THE_WEB = ("/file=http:", "/file=https:", "/file/http:", "/file/https:")


class Limits:
    """Refuses a request that is too large, and one that would have the server fetch a page of the web."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if any(mark in scope["path"] for mark in _FILE_OF_THE_WEB):
            await JSONResponse({"detail": "Not allowed."}, 403)(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            detail = f"A request may have up to {MAX_BODY_BYTES:,} bytes."
            await JSONResponse({"detail": detail}, 413)(scope, receive, send)
            return
        await self.app(scope, _counted(receive), send)


def _counted(receive: Receive) -> Receive:
    """A body that comes in pieces of no announced length ends as one whose sender went, once it is too large."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= MAX_BODY_BYTES else {"type": "http.disconnect"}

    return counted


async def unknown(request: Request, error: Exception) -> JSONResponse:
    """The answer where Gradio looks something up that is not there, such as an event: no trace in the log."""
    return JSONResponse({"detail": "There is no such thing here."}, 404)


def app_options() -> dict[str, Any]:
    """What Gradio's server is made with."""
    return {"middleware": [Middleware(Limits)], "exception_handlers": {KeyError: unknown}}
