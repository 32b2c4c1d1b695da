"""Talking ASGI to the application, as a server would: streams are read while they are written."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rrm.asgi import application
from tests.factories import API, Caller

PATIENCE = 60.0


@dataclass
class Event:
    """One server-sent event."""

    name: str
    id: str | None
    data: Any


@dataclass
class Exchange:
    """A request under way. What the application sends is read piece by piece."""

    sent: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    over: bool = False
    rest: bytes = b""
    comments: int = 0

    async def start(self) -> Exchange:
        message = await self._next()
        assert message["type"] == "http.response.start", message
        self.status = message["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        return self

    async def _next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), PATIENCE)

    async def chunk(self) -> bytes:
        message = await self._next()
        self.over = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def body(self) -> bytes:
        parts = []
        while not self.over:
            parts.append(await self.chunk())
        return b"".join(parts)

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def event(self) -> Event:
        """The next event; comments are counted and passed over."""
        while True:
            block, separator, self.rest = self.rest.partition(b"\n\n")
            if not separator:
                assert not self.over, "the stream has ended"
                self.rest = block + await self.chunk()
                continue
            event = _parsed(block.decode())
            if event:
                return event
            self.comments += block.startswith(b":")

    async def events(self, count: int) -> list[Event]:
        return [await self.event() for _ in range(count)]

    async def until(self, name: str) -> list[Event]:
        """Everything up to and with the first event of this name."""
        events = [await self.event()]
        while events[-1].name != name:
            events.append(await self.event())
        return events


def _parsed(block: str) -> Event | None:
    fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
    if "event" not in fields:
        return None
    return Event(fields["event"], fields.get("id"), json.loads(fields["data"]))


@contextlib.asynccontextmanager
async def asked(
    caller: Caller, method: str, path: str, body: Iterable[bytes] = (), **headers: str
) -> AsyncIterator[Exchange]:
    """The exchange that one request begins; leaving the block hangs up."""
    exchange = Exchange()
    pieces = list(body) or [b""]
    path, _, query = path.partition("?")
    if "Transfer_Encoding" not in headers:
        headers["Content_Length"] = str(sum(map(len, pieces)))
    given = {"host": "localhost", **caller.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path if path.startswith("/") else API + path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "root_path": "",
    }

    async def receive() -> dict[str, Any]:
        if pieces:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}
        await exchange.gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        await exchange.sent.put(message)

    task = asyncio.create_task(application(scope, receive, send))
    try:
        yield await exchange.start()
    finally:
        exchange.gone.set()
        await asyncio.wait_for(task, PATIENCE)
