"""HTTP as this server needs it: requests read whole within a bound, answers of one piece, problems as JSON."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

LONGEST_BODY = 1 << 16
STALLED_SECONDS = 30.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]

TITLES = {
    403: "This server answers only the manager",
    404: "There is no such route",
    405: "The route does not take this method",
    409: "The session has ended",
    413: "The request is too large",
    422: "The camera cannot be accepted",
    503: "The node is busy",
}


class Problem(Exception):
    """An answer that refuses the request, as problem+json."""

    def __init__(self, status: int, code: str, detail: str = "", **more: Any) -> None:
        super().__init__(detail or code)
        self.status, self.code, self.detail, self.more = status, code, detail, more

    def as_json(self) -> dict[str, Any]:
        told = {"type": "about:blank", "title": TITLES[self.status], "status": self.status, "code": self.code}
        return told | ({"detail": self.detail} if self.detail else {}) | self.more


@dataclass(frozen=True)
class Answer:
    """A response of one piece."""

    body: bytes
    kind: str = "application/json"
    status: int = 200

    @classmethod
    def json(cls, document: Any, status: int = 200) -> "Answer":
        return cls(json.dumps(document).encode(), status=status)

    @classmethod
    def problem(cls, problem: Problem) -> "Answer":
        return cls(json.dumps(problem.as_json()).encode(), "application/problem+json", problem.status)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        pairs = {"content-type": self.kind, "content-length": str(len(self.body)), "cache-control": "no-store"}
        return encoded(pairs)

    async def send(self, send: Send, *, method: str = "GET", prefix: str = "http") -> None:
        """The whole response; a HEAD gets no body."""
        start = {"type": f"{prefix}.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": f"{prefix}.response.body", "body": b"" if method == "HEAD" else self.body})


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """As ASGI has them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def header(scope: Scope, name: bytes) -> str:
    """The value of a header, or nothing."""
    return next((value.decode("latin-1") for found, value in scope["headers"] if found.lower() == name), "")


def query(scope: Scope) -> dict[str, str]:
    """The last value of each parameter."""
    return dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))


async def body(receive: Receive) -> bytes:
    """The whole body. Raises Problem when it is too long."""
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > LONGEST_BODY:
            raise Problem(413, "too-large", f"A request may have {LONGEST_BODY} bytes.")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def sent(sending: Awaitable[None]) -> None:
    """Raises TimeoutError when the client takes nothing for too long."""
    async with asyncio.timeout(STALLED_SECONDS):
        await sending


async def gone(receive: Receive) -> None:
    """Until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def first_of(*courses: Coroutine[Any, Any, None]) -> None:
    """Run until one of them ends, and end the others; raises what the first raised, but for a client that left."""
    tasks = [asyncio.create_task(course) for course in courses]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):  # as servers tell of clients that left
            raise outcome
