"""What the body of a request may hold: texts as long as a picture, but little else, since the server reads all of it
while everybody waits."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Limits
from app.visitors.allowance import Allowance
from app.visitors.visits import address_of
from app.words import sentence

# Bytes of JSON beside its texts. Of pages it is patches that were painted: six for each of the tens of thousands that a
# picture may have. A quarter of a megabyte takes the server a tenth of a second.
_MOST_BESIDE = 2**18
# What a request may hold of it that is not counted: nearly all of them hold less.
_UNCOUNTED = 2**15
_MOST_TEXTS = 10_000
# JSON in UTF-16 or UTF-32 is read as well, but by no browser written, and its texts cannot be told by their bytes.
_MARKS = (b"\xff\xfe", b"\xfe\xff")


def body_bytes(limits: Limits) -> int:
    """How large a request may be: a picture of the largest size as a data URL, and room for the rest."""
    return limits.upload_bytes * 4 // 3 + 2**20


def announced(request: Request) -> int | None:
    """How large a request says that it is; None where it does not say."""
    said = request.headers.get("content-length", "")
    return int(said) if said.isdecimal() else None


def bytes_beside_texts(body: bytes) -> int:
    """How many bytes of JSON in UTF-8 are in no text; of what has too many texts, all of them."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * _MOST_TEXTS:
        return len(body)
    return sum(map(len, plain.split(b'"')[::2]))


class FewValues:
    """Refuses a request whose JSON would keep the server from everybody else, and counts those that are large."""

    def __init__(self, app: ASGIApp, allowance: Allowance, passed_by: str) -> None:
        """passed_by: how the path ends of requests that hold no JSON."""
        self.app, self.allowance, self.passed_by = app, allowance, passed_by

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].endswith(self.passed_by):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body = await _read(request, body_bytes(self.allowance.limits))
        except ClientDisconnect:
            return
        if refusal := self._refusal(body, request):
            await JSONResponse({"detail": refusal[1]}, refusal[0])(scope, receive, send)
            return
        await self.app(scope, _again(body or b"", receive), send)

    def _refusal(self, body: bytes | None, request: Request) -> tuple[int, str] | None:
        """The status and the words for a body that is not handed on, or None."""
        if body is None:
            return 413, "This request is too large."
        if body.startswith(_MARKS) or b"\0" in body[:4]:
            return 400, "This request cannot be understood."
        if len(body) <= _UNCOUNTED:
            return None
        beside = bytes_beside_texts(body)
        if beside > _MOST_BESIDE:
            return 413, f"This request holds more values than the {_MOST_BESIDE:,} bytes that they may take."
        if beside > _UNCOUNTED:
            try:
                self.allowance.take("", address_of(request))
            except ValueError as error:
                return 429, sentence(error)
        return None


async def _read(request: Request, most: int) -> bytes | None:
    """A body of at most so many bytes; None for a larger one. Raises ClientDisconnect."""
    if (announced(request) or 0) > most:
        return None
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            return None
    return b"".join(chunks)


def _again(body: bytes, receive: Receive) -> Receive:
    """What brings a body that was read already, at once; then whatever else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
