"""A session side in this process, and clients over real sockets."""

import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from renderers.streaming.desk import Desk
from renderers.streaming.place import ALONE
from renderers.streaming.server import SessionServer, key_of

KEY = key_of("launch-secret")
THREADS = {"draw", "direct", "encode", "still", "load-reference", "load-ahead"}
ENDLESS = {"center": ["0.01", "0.02"], "radius": "0.05", "max_iter": 10_000_000, "formula": "tricorn"}
"""A view that takes minutes: ten million steps for each pixel of a formula with no short cuts."""
SEAHORSES = {"center": ["-0.7436", "0.1318"], "radius": "0.001", "max_iter": 2000}


@dataclass
class Side:
    """A session side and what it was asked."""

    server: SessionServer
    desk: Desk
    drained: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://{self.server.address}"

    def http(self, session: str = "one", key: str = KEY) -> httpx.Client:
        headers = {"X-RRM-Key": key, "X-RRM-Session": session}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60.0)

    @contextmanager
    def watching(self, session: str = "one", key: str = KEY, **options: Any) -> "Iterator[Watcher]":
        headers = {"X-RRM-Key": key, "X-RRM-Session": session}
        address = f"ws://{self.server.address}/ws"
        with connect(address, additional_headers=headers, proxy=None, max_size=None, **options) as socket:
            yield Watcher(socket)


@dataclass
class Shown:
    """A frame as a client gets it."""

    header: dict[str, Any]
    image: bytes

    def __getattr__(self, name: str) -> Any:
        return self.header[name]


class Watcher:
    """A client's end of a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self, timeout: float = 60.0) -> Any:
        """A frame, or what a refusal says."""
        message = self.socket.recv(timeout)
        if isinstance(message, str):
            return json.loads(message)
        (length,) = struct.unpack(">I", message[:4])
        return Shown(json.loads(message[4 : 4 + length]), message[4 + length :])

    def until_closed(self) -> int:
        """The code with which the other end closes."""
        with pytest.raises(ConnectionClosed) as closed:
            self._hear_on()
        assert closed.value.rcvd is not None
        return int(closed.value.rcvd.code)

    def _hear_on(self) -> None:
        while True:
            self.hear()

    def until_final(self, camera: object, timeout: float = 60.0) -> list[Shown]:
        """All frames up to the final one of a camera."""
        deadline = time.monotonic() + timeout
        seen: list[Shown] = []
        while not (seen and seen[-1].final and seen[-1].camera == camera):
            seen.append(self.hear(max(0.01, deadline - time.monotonic())))
        return seen


@contextmanager
def serving(threads: int = 2, patience: float = 0.0) -> Iterator[Side]:
    """A session side with a key; nothing of it is left behind."""
    server = SessionServer(ALONE, KEY, threads, patience=patience)
    side = Side(server, server.desk)
    side.server.start(side.drained.set)
    try:
        yield side
    finally:
        side.server.close(60.0)
    assert not left_behind()


def left_behind(patience: float = 60.0) -> list[str]:
    """Names of threads that have not ended after a while."""
    deadline = time.monotonic() + patience
    while names := [thread.name for thread in threading.enumerate() if thread.name in THREADS | {"session-side"}]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return names


def working(patience: float = 60.0) -> list[str]:
    """The same of those that draw."""
    deadline = time.monotonic() + patience
    while names := [thread.name for thread in threading.enumerate() if thread.name in THREADS]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return names
