"""What the server refuses before anything looks at it: too large a request, and one that has it fetch the web."""

from __future__ import annotations

import logging
from typing import Any

from gradio.route_utils import FnIndexInferError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.agents import create_agents
from app.allowance import Allowance
from app.engine import Engine
from app.settings import Limits
from app.visits import address_of
from app.words import sentence
from fitprune_core.checks.words import cut

logger = logging.getLogger(__name__)

_FILE_OF_THE_WEB = ("/file=http:", "/file=https:", "/file/http:", "/file/https:")
# Routes of Gradio that only serve those who write an app.
_OF_DEVELOPERS = ("/gradio_api/dev/", "/gradio_api/vibe-")
_UNKNOWN = (KeyError, FnIndexInferError)  # what Gradio raises for an event that it does not have
_UNUSABLE = (TypeError, ValueError, OSError)  # and for a name that no file can have, or what an event does not take


_UPLOAD = "/gradio_api/upload"


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
        elif scope["type"] == "http" and (
            "\0" in scope["path"] or any(each in scope["path"] for each in _OF_DEVELOPERS)
        ):
            await unknown(Request(scope), KeyError())(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class FewUploads:
    """Refuses an upload from an address that sent as many requests as one may within a minute."""

    def __init__(self, app: ASGIApp, allowance: Allowance) -> None:
        self.app, self.allowance = app, allowance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(_UPLOAD):
            try:
                self.allowance.take("", address_of(Request(scope)))
            except ValueError as error:
                await JSONResponse({"detail": sentence(error)}, 429)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def unknown(request: Request, error: Exception) -> JSONResponse:
    """The answer where Gradio looks something up that is not there, such as an event: no trace in the log."""
    return JSONResponse({"detail": "There is no such thing here."}, 404)


def unusable(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that a route of Gradio's stumbles over; what went wrong is for the log."""
    logger.warning("a request to %s failed: %s", cut(request.url.path), cut(repr(error)))
    return JSONResponse({"detail": "This request cannot be understood."}, 400)


def body_bytes(limits: Limits) -> int:
    """How large a request may be: a picture of the largest size as a data URL, and room for the rest."""
    return limits.upload_bytes * 4 // 3 + 2**20


def app_options(engine: Engine) -> dict[str, Any]:
    """What Gradio's server is made with."""
    agents = create_agents(engine)
    return {
        "routes": agents.routes,
        "lifespan": agents.lifespan,
        "middleware": [Middleware(NoWeb), Middleware(FewUploads, allowance=engine.line.allowance)],
        "exception_handlers": dict.fromkeys(_UNUSABLE, unusable) | dict.fromkeys(_UNKNOWN, unknown),
        "max_body_size": body_bytes(engine.limits),
    }
