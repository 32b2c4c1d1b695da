"""Both ends of the gateway for real: the web server in front of it, and nodes behind it, good and bad."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import uvicorn
from django.contrib.auth.models import User

from rrm.errors import NotFound, StateConflict
from rrm.farm.sessions import Way
from rrm.launchers.connection import Target
from rrm.supervisor.web import configuration, watch_clients

PROXY = "/rendering-resource-manager/v2/session/{}/proxy"


@contextlib.contextmanager
def serving(config: uvicorn.Config, listener: socket.socket | None = None) -> Iterator[int]:
    """A uvicorn server on a free port, or on what listens already, in a thread."""
    if listener is None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        watch_clients(listener)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(60)
        listener.close()


@contextlib.contextmanager
def front(application: Any, pings: float, listener: socket.socket | None = None) -> Iterator[int]:
    """The application behind a server with the settings of real life, but for how often it pings."""
    config = configuration(application)
    assert (config.ws_ping_interval, config.ws_ping_timeout) == (20, 20)
    config.ws_ping_interval = config.ws_ping_timeout = pings
    config.log_level = "critical"
    config.configure_logging()
    with serving(config, listener) as port:
        yield port


@dataclass
class BookedSessions:
    """Sessions of a test; stands where the farm's sessions stand."""

    ways: dict[UUID, tuple[int | None, Way]] = field(default_factory=dict)
    touched: list[UUID] = field(default_factory=list)

    def add(
        self, owner: User, port: int, *, host: str = "127.0.0.1", target: Target | None = None, idle_seconds: int = 300
    ) -> UUID:
        session = uuid4()
        self.ways[session] = (owner.pk, Way(session, host, port, target, "the-key", idle_seconds))
        return session

    def way_to(self, session: UUID, user: User | None) -> Way:
        owner, way = self.ways.get(session, (None, None))
        if way is None or (user is not None and user.pk != owner):
            raise NotFound(f"There is no session {session}.")
        if way.port == 0:
            raise StateConflict("The session is pending: a node is being started.")
        return way

    def touch(self, session: UUID) -> None:
        self.touched.append(session)


@dataclass
class Node:
    """A well-behaved renderer: an ASGI application whose routes do one thing each."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    sockets: int = 0
    closes: list[int] = field(default_factory=list)
    sent: int = 0
    read: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode()
        seen: dict[str, Any] = {"raw_path": scope["raw_path"].decode(), "query": query, "headers": headers}
        seen |= {"method": scope.get("method"), "client": scope["client"]}
        self.requests.append(seen)
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        act = getattr(self, f"_{scope['path'].strip('/').replace('-', '_')}", partial(self._echo, seen))
        try:
            await act(receive, send)
        finally:
            self.ended.set()

    async def _echo(self, seen: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        await _start(send, 201, (b"content-type", b"application/json"), (b"set-cookie", b"a=b"))
        await send({"type": "http.response.body", "body": json.dumps(seen | {"length": len(body)}).encode()})

    async def _upload(self, receive: Any, send: Any) -> None:
        """Takes note of each piece when it comes."""
        more = True
        while more:
            message = await receive()
            self.bodies.append(message.get("body", b""))
            more = message.get("more_body", False)
        await _start(send, 200)
        await send({"type": "http.response.body", "body": b"done"})

    async def _duplex(self, receive: Any, send: Any) -> None:
        """Answers each piece of the body before the next one comes."""
        await _start(send, 200)
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b"").upper(), "more_body": more})

    async def _events(self, receive: Any, send: Any) -> None:
        """One event at once, another when the test says so."""
        await _start(send, 200, (b"content-type", b"text/event-stream"))
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.to_thread(self.released.wait, 60)
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})

    async def _endless(self, receive: Any, send: Any) -> None:
        """Sends until the client is gone."""
        gone = asyncio.ensure_future(_gone(receive))
        await _start(send, 200)
        while not gone.done():
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
            self.sent += 2**16
            await asyncio.sleep(0)

    async def _silent(self, receive: Any, send: Any) -> None:
        await _gone(receive)

    async def _deaf(self, receive: Any, send: Any) -> None:
        """Reads nothing until the test says so."""
        await asyncio.to_thread(self.released.wait, 60)
        await _start(send, 200)
        await send({"type": "http.response.body", "body": b""})

    async def _socket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/refused":
            await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
            return
        chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": chosen})
        self.sockets += 1
        try:
            await getattr(self, f"_ws{scope['path'].replace('/', '_')}", self._ws_echo)(receive, send)
        finally:
            self.sockets -= 1

    async def _ws_echo(self, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            self.read += 1
            if message.get("text", "") == "close":
                await send({"type": "websocket.close", "code": 4242, "reason": "as you wish"})
            elif message.get("text", "") == "large":
                await send({"type": "websocket.send", "bytes": bytes(17 * 2**20)})
            else:
                await send({**message, "type": "websocket.send"})
        self.closes.append(message["code"])

    async def _ws_flood(self, receive: Any, send: Any) -> None:
        with contextlib.suppress(Exception):
            while True:
                await send({"type": "websocket.send", "bytes": bytes(2**16)})
                self.sent += 2**16

    async def _ws_deaf(self, receive: Any, send: Any) -> None:
        await asyncio.to_thread(self.released.wait, 60)


async def _start(send: Any, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class RawNode:
    """A node that speaks whatever the test wants, one thread for each connection."""

    def __init__(self, act: Callable[[socket.socket], None], receive_buffer: int = 0) -> None:
        self.accepted = 0
        self._act = act
        self._listener = socket.create_server(("127.0.0.1", 0))
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._answer, args=(stream,), daemon=True).start()

    def _answer(self, stream: socket.socket) -> None:
        with stream, contextlib.suppress(OSError):
            stream.settimeout(20)
            self._act(stream)


def head(stream: socket.socket) -> bytes:
    """The head of one HTTP message, and what came with it."""
    got = b""
    while b"\r\n\r\n" not in got and (piece := stream.recv(65536)):
        got += piece
    return got


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    """Reads a request's head and says this."""

    def act(stream: socket.socket) -> None:
        head(stream)
        stream.sendall(answer)

    return act


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)
