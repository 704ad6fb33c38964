"""What Gradio's server is made with: the middleware that refuses requests before anything looks at them, and its kin.

Here are refused what would have the server fetch the web and what is not for visitors; in `bodies`, `uploading` and
`queueing` what is too much.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import Depends, HTTPException
from gradio.route_utils import FnIndexInferError
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.door.bodies import FewValues, body_bytes
from app.door.queueing import FairQueue
from app.door.stored import UploadsRoom
from app.door.uploading import UPLOAD, FewUploads
from app.endpoints.agents import create_agents
from app.engine import Engine
from fitprune_core.checks.words import cut

logger = logging.getLogger(__name__)

_FILE_OF_THE_WEB = ("/file=http:", "/file=https:", "/file/http:", "/file/https:")
# Routes of Gradio that only serve those who write an app, and those of components that this app does not have. Some
# take files as an upload does, or a session's name in a form.
_NOT_HERE = tuple(
    f"/gradio_api/{each}" for each in ("dev/", "vibe-", "process_recording", "component_server", "stream/")
)
_UNKNOWN = (KeyError, FnIndexInferError)  # what Gradio raises for an event that it does not have
_UNUSABLE = (TypeError, ValueError, OSError)  # and for a name that no file can have, or what an event does not take
_TIDY = 60.0  # seconds
_LONGEST_NAME = 64  # characters of a session; those of browsers have 11, of clients 36


class NoWeb:
    """Refuses what would have the server fetch a page of the web and hand it on, as Gradio does, and what is not for
    visitors.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http" and any(mark in scope["path"] for mark in _FILE_OF_THE_WEB):
            await JSONResponse({"detail": "Not allowed."}, 403)(scope, receive, send)
        elif scope["type"] == "http" and ("\0" in scope["path"] or any(each in scope["path"] for each in _NOT_HERE)):
            await unknown(Request(scope), KeyError())(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class QuietEnds:
    """Ends an answer that breaks off as it should end. A session that asked for nothing is told so in Gradio's stream,
    into which Gradio then raises: whoever likes could fill the log with traces.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        try:
            await self.app(scope, receive, send)
        except RuntimeError as error:
            # Starlette's, where a status can no longer be sent since the answer has begun.
            if not isinstance(error.__cause__, HTTPException):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def short_session(request: Request) -> None:
    """Before any route of Gradio's is entered: refuse an overlong name of a session, which Gradio would keep in memory
    with the session. Raises HTTPException.
    """
    # What the route reads as JSON is there already, and is read once; of other routes nothing may be read here.
    body = await request.json() if hasattr(request, "_json") else None
    name = body.get("session_hash") if isinstance(body, dict) else None
    if isinstance(name, str) and len(name) > _LONGEST_NAME:
        told = f"The name of this session has {len(name):,} characters; it may have up to {_LONGEST_NAME}."
        raise HTTPException(400, told)


def unknown(request: Request, error: Exception) -> JSONResponse:
    """The answer where Gradio looks something up that is not there, such as an event: no trace in the log."""
    return JSONResponse({"detail": "There is no such thing here."}, 404)


def unusable(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that a route of Gradio's stumbles over; what went wrong is for the log."""
    logger.warning("a request to %s failed: %s", cut(request.url.path), cut(repr(error)))
    return JSONResponse({"detail": "This request cannot be understood."}, 400)


async def _tidy(room: UploadsRoom) -> None:
    """Once a minute: pictures that the app draws for visitors come without an upload."""
    while True:
        await asyncio.sleep(_TIDY)
        try:
            await asyncio.to_thread(room.tidy)
        except OSError:  # a folder that went meanwhile; the next minute may find it whole
            logger.exception("the uploads could not be tidied")


def app_options(engine: Engine) -> dict[str, Any]:
    """What Gradio's server is made with."""
    agents, room = create_agents(engine), UploadsRoom(Path(get_upload_folder()), engine.limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        tidying = asyncio.create_task(_tidy(room))
        try:
            async with agents.lifespan(app) if agents.lifespan else contextlib.nullcontext():
                yield
        finally:
            tidying.cancel()

    return {
        "routes": agents.routes,
        "lifespan": lifespan,
        "middleware": [
            Middleware(QuietEnds),
            Middleware(NoWeb),
            Middleware(FewValues, allowance=engine.line.allowance, passed_by=UPLOAD),
            Middleware(FewUploads, allowance=engine.line.allowance, room=room),
            Middleware(FairQueue, limits=engine.limits),
        ],
        "exception_handlers": dict.fromkeys(_UNUSABLE, unusable) | dict.fromkeys(_UNKNOWN, unknown),
        "dependencies": [Depends(short_session)],
        "max_body_size": body_bytes(engine.limits),
    }
