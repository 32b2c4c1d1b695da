"""Clients that vanish without a word: their packets, and those to them, are lost from one moment on.

The clients and the server's listening socket are in a network namespace of their own, whose loopback is switched off.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from rrm.api.limits import BodyLimit
from rrm.api.v2.proxy import SessionProxy
from rrm.asgi import ThreadedHandler
from rrm.gateway.slots import traffic
from rrm.supervisor.web import SILENCE, watch_clients
from tests.gateway.conftest import Gate
from tests.gateway.servers import front, head, until

CLONE_NEWNET = 0x40000000
QUICK = {
    socket.TCP_KEEPIDLE: 1,
    socket.TCP_KEEPINTVL: 1,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 3000,
}


class Elsewhere:
    """A network of its own, for sockets that are made by a thread of its own; they may be used anywhere."""

    def __init__(self) -> None:
        self._asked: queue.Queue[tuple[Callable[[], Any], queue.Queue[Any]] | None] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            act, answer = asked
            try:
                answer.put(act())
            except OSError as error:
                answer.put(error)

    def do(self, act: Callable[[], Any]) -> Any:
        """What `act` returns in this network. Raises OSError."""
        answer: queue.Queue[Any] = queue.Queue()
        self._asked.put((act, answer))
        result = answer.get(timeout=60)
        if isinstance(result, OSError):
            raise result
        return result

    def separate(self) -> None:
        """Raises OSError where that is not permitted."""

        def act() -> None:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "no network of its own")

        self.do(act)
        self.link("up")

    def link(self, state: str) -> None:
        self.do(lambda: subprocess.run(["ip", "link", "set", "lo", state], check=True))

    def close(self) -> None:
        self._asked.put(None)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    network = Elsewhere()
    try:
        network.separate()
        yield network
    except OSError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no network namespace: {error}")
    finally:
        network.close()


@pytest.fixture
def there(gate: Gate, elsewhere: Elsewhere) -> Iterator[Gate]:
    """The gate, reached through the other network, with less patience than in real life."""
    listener = elsewhere.do(lambda: socket.create_server(("127.0.0.1", 0)))
    watch_clients(listener, QUICK)
    with front(SessionProxy(BodyLimit(ThreadedHandler()), gate.sessions), 20.0, listener) as port:
        yield replace(gate, port=port)
        until(lambda: not +traffic.open)


@contextlib.contextmanager
def client(gate: Gate, elsewhere: Elsewhere, path: str, *lines: str, method: str = "GET") -> Iterator[socket.socket]:
    with elsewhere.do(lambda: socket.create_connection(("127.0.0.1", gate.port), timeout=10)) as stream:
        about = [f"{method} {gate.path(path)} HTTP/1.1", "Host: localhost"]
        about.append(f"Authorization: {gate.owner.headers['Authorization']}")
        stream.sendall("\r\n".join([*about, *lines, "", ""]).encode())
        yield stream


UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
)


@pytest.mark.parametrize(
    ("path", "lines", "method"),
    [
        ("/events", (), "GET"),  # nothing is under way: only the probes tell
        ("/endless", (), "GET"),  # data is under way that nobody acknowledges
        ("/upload", ("Content-Length: 100",), "POST"),
        ("/flood", UPGRADE, "GET"),
    ],
    ids=["silent", "streaming", "uploading", "websocket"],
)
def test_a_client_that_vanishes_frees_its_slot(
    there: Gate, elsewhere: Elsewhere, path: str, lines: tuple[str, ...], method: str
) -> None:
    with client(there, elsewhere, path, *lines, method=method) as stream:
        if method == "GET":
            assert head(stream)
        until(lambda: +traffic.open)
        vanished = time.monotonic()
        elsewhere.link("down")
        until(lambda: not +traffic.open)
        assert time.monotonic() - vanished > 1  # nobody was told
        there.node.released.set()
        until(there.node.ended.is_set if path != "/flood" else lambda: there.node.sockets == 0)


def test_in_real_life_that_takes_less_than_a_minute() -> None:
    """The last probe goes out when the time for an answer is over: a look at it may come one interval late."""
    probes = SILENCE[socket.TCP_KEEPIDLE] + SILENCE[socket.TCP_KEEPCNT] * SILENCE[socket.TCP_KEEPINTVL]
    assert max(probes, SILENCE[socket.TCP_USER_TIMEOUT] / 1000) + SILENCE[socket.TCP_KEEPINTVL] <= 60
