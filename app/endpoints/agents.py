"""Tools for agents over MCP, the Model Context Protocol: `compare` and `sweep`, as the endpoints have them.

Gradio's own MCP server is not used: it calls the app through one client on this machine, so that all agents would be
one visitor with one place in the line, and that client opens files that an agent names before the door for pictures
sees them. Here each call is a visitor of its own, from where it comes from, and pictures come in by that door.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.budgets import LARGEST_PERCENT
from app.door.uploads import receive_text
from app.endpoints.api import Api
from app.engine import MOST_WAYS, Engine
from app.visitors.allowance import Asker
from app.visitors.visits import address_of
from app.words import failure

PATH = "/gradio_api/mcp"  # where Gradio's own would be
_LOOK = 0.5  # seconds between two looks at whether an agent still listens
# One entry a visual token: a page of numbers that no agent can use.
_PER_TOKEN = ("kept", "kept_before", "dropped_after", "rank", "boxes", "views")
_IMAGE = (
    "The picture: a data URL (data:image/png;base64,...), or the address or path that this server gave to a file "
    "uploaded at /gradio_api/upload. Nothing is fetched from the web."
)
# What a caller may leave out of each tool.
_OPTIONAL = {"compare": ("method", "against", "against_reduction", "stay", "go"), "sweep": ("methods",)}
_BUDGET = f"percent of the decoder's FLOPs on visual tokens to save, 0 to {LARGEST_PERCENT}"
_FOUND = (
    "the answers, whether they agree, the FLOPs of each, and how many visual tokens each layer leaves. What each "
    "figure means is under conventions. Calls wait in line for the one model; one takes seconds."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agents:
    """What the server gets for agents: routes, and what runs beside it. Without the package mcp there are none."""

    routes: list[BaseRoute] = field(default_factory=list)
    lifespan: Callable[[Any], Any] | None = None


def create_agents(engine: Engine) -> Agents:
    """The tools of one engine. Says in the log that there are none where the package mcp is not installed."""
    if importlib.util.find_spec("mcp") is None:
        logger.warning("Agents find no tools here: the package mcp is not installed; `pip install mcp` adds them.")
        return Agents()
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    server: Any = Server("FitPrune Studio")
    _add_tools(server, Api(engine))

    class Endpoint:
        manager: StreamableHTTPSessionManager

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.manager.handle_request(scope, receive, send)

    endpoint = Endpoint()

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        # Made anew, for a manager runs once: where another server takes the port in the moment in which this one looks
        # for a free one, Gradio starts the app again on the next. Stateless: no call needs one before it, so any
        # replica can answer. Bodies are bounded for the whole app.
        endpoint.manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=2 * engine.limits.upload_bytes
        )
        async with endpoint.manager.run():
            yield

    return Agents([Route(path, endpoint) for path in (PATH, f"{PATH}/")], lifespan)


def _add_tools(server: Any, api: Api) -> None:
    from mcp.types import TextContent, Tool

    @server.list_tools()
    async def tools() -> list[Tool]:
        return [Tool(**described) for described in TOOLS]

    # Values are checked where all others are, in words.
    @server.call_tool(validate_input=False)
    async def call(name: str, given: dict[str, Any]) -> list[TextContent]:
        found = await answer(api, name, given, server.request_context.request)
        return [TextContent(type="text", text=json.dumps(found, ensure_ascii=False))]


async def answer(api: Api, name: str, given: dict[str, Any], request: Request) -> Any:
    """What a tool found, in short. Raises ValueError, a sentence, for whatever ends it before."""
    asker = Asker(uuid.uuid4().hex, address_of(request))
    LocalContext.request.set(gr.Request(request))  # on ZeroGPU the quota is that of whoever sent this
    listener = asyncio.ensure_future(_end_with(request, lambda: api.engine.line.end(asker.visitor)))
    try:
        return await _answer(api, name, given, asker)
    finally:
        listener.cancel()


async def _answer(api: Api, name: str, given: dict[str, Any], asker: Asker) -> Any:
    limits = api.engine.limits
    try:
        if name not in _OPTIONAL:
            raise ValueError(f"There is no tool {name!r} here; there are compare and sweep.")
        image, question = receive_text(given.get("image"), limits), given.get("question")
        further = {each: given[each] for each in _OPTIONAL[name] if each in given}
        if name == "compare":
            return in_short(await api.compared(asker, image, question, given.get("reduction"), **further))
        found = await api.swept(asker, image, question, given.get("reductions"), **further)
        return [in_short(each) for each in found]
    except gr.Error as error:
        raise ValueError(error.message) from error
    except Exception as error:
        raise ValueError(failure(error, "an agent's call")) from error


async def _end_with(request: Request, end: Callable[[], None]) -> None:
    """End the call of an agent that has gone."""
    while not await request.is_disconnected():
        await asyncio.sleep(_LOOK)
    end()


def in_short(found: dict[str, Any]) -> dict[str, Any]:
    """A comparison without what it says of each visual token, and how many are left after each layer instead."""
    short = {name: value for name, value in found.items() if name not in _PER_TOKEN}
    if short.get("against"):
        short["against"] = in_short(short["against"])
    return {**short, "tokens_left": [len(tokens) for tokens in found["kept"]]}


def _tool(name: str, about: str, **properties: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": [each for each in properties if each not in _OPTIONAL[name]],
    }
    return {"name": name, "description": about, "inputSchema": schema}


_ASKED = {
    "image": {"type": "string", "description": _IMAGE},
    "question": {"type": "string", "description": "What to ask about the picture."},
}
_PERCENT = {"type": "number", "minimum": 0, "maximum": LARGEST_PERCENT}
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
TOOLS = [
    _tool(
        "compare",
        "Answer a question about a picture twice: with a vision-language model as it is, and with visual tokens pruned "
        "by FitPrune to a budget of FLOPs; or in any two ways, each with a method and a budget of its own. Returns "
        f"{_FOUND} Times are measured in turns.",
        **_ASKED,
        reduction={**_PERCENT, "description": f"The {_BUDGET}."},
        method={
            "type": "string",
            "description": "What chooses the tokens of the second answer, fitprune if left out, such as "
            '"random:seed=1"; "original" prunes nothing.',
        },
        against={
            "type": "string",
            "description": "What answers first, named as method; original, the model as it is, if left out.",
        },
        against_reduction={
            **_PERCENT,
            "description": f"The budget of against: {_BUDGET}; that of reduction if left out.",
        },
        stay={
            **_TOKENS,
            "description": "Visual tokens, by number from 0 in reading order, that must stay at every layer of the "
            "second answer: a test of what it needs, at the same FLOPs.",
        },
        go={**_TOKENS, "description": "Visual tokens that go first there."},
    ),
    _tool(
        "sweep",
        "Answer a question about a picture by several pruning methods at several budgets, to see how far an answer "
        f"holds. Returns a list with, for each method and budget, {_FOUND}",
        **_ASKED,
        reductions={
            "type": "array",
            "items": _PERCENT,
            "description": f"Budgets, each the {_BUDGET}; {MOST_WAYS} ways in all at most.",
        },
        methods={
            "type": "array",
            "items": {"type": "string"},
            "description": 'Names of methods, such as "fitprune", "fastv" and "random:seed=1"; fitprune if left out.',
        },
    ),
]
