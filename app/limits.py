"""What the server refuses before anything looks at it: too large a request, and one that has it fetch the web."""

from __future__ import annotations

from typing import Any

from gradio.route_utils import FnIndexInferError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.uploads import MAX_UPLOAD_BYTES

# A picture of the largest size as a data URL, and room for the rest of a request.
MAX_BODY_BYTES = MAX_UPLOAD_BYTES * 4 // 3 + 2**20
_FILE_OF_THE_WEB = ("/file=http:", "/file=https:", "/file/http:", "/file/https:")
_UNKNOWN = (KeyError, FnIndexInferError)  # what Gradio raises for an event that it does not have


class NoWeb:
    """Refuses what would have the server fetch a page of the web and hand it on, as Gradio does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http" and any(mark in scope["path"] for mark in _FILE_OF_THE_WEB):
            await JSONResponse({"detail": "Not allowed."}, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def unknown(request: Request, error: Exception) -> JSONResponse:
    """The answer where Gradio looks something up that is not there, such as an event: no trace in the log."""
    return JSONResponse({"detail": "There is no such thing here."}, 404)


def app_options() -> dict[str, Any]:
    """What Gradio's server is made with."""
    return {
        "middleware": [Middleware(NoWeb)],
        "exception_handlers": dict.fromkeys(_UNKNOWN, unknown),
        "max_body_size": MAX_BODY_BYTES,
    }
