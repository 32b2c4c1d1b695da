"""Many sessions through a site's connection, used and left in every way, and then nothing of them is there any more."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import struct
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from deployment.minicluster.sshd import SshHost
from rrm.gateway import exchange, websocket
from rrm.gateway.slots import traffic
from rrm.launchers.connection import Target, connection_to
from tests.gateway.asking import raw
from tests.gateway.conftest import Gate
from tests.gateway.servers import until
from tests.hosts import target_of
from tests.services import free_port

SESSIONS = 200
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


@pytest.fixture
def target(ssh_host: SshHost) -> Target:
    return target_of(ssh_host)


def carried() -> dict[str, int]:
    """What there is while somebody's stream is carried, by kind."""
    tasks = [item for item in gc.get_objects() if type(item) is types.CoroutineType]
    return {
        "slots": traffic.open.total(),
        "threads": sum(thread.name == "rrm-ssh-stream" for thread in threading.enumerate()),
        "tasks": sum(task.__qualname__ in ("forward", "relay", "_attempt", "_carry") for task in tasks),
    }


def sockets() -> int:
    """How many this process has open."""
    found = 0
    for file in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{file}").startswith("socket:")
    return found


def connections(port: int) -> int:
    """Established connections of this machine to a port of it, those of the site's host too."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(fields[2].endswith(f":{port:04X}") and fields[3] == "01" for fields in lines)


def asks(gate: Gate, session: UUID, chance: random.Random) -> None:
    with gate.client(session=session) as client:
        for _ in range(chance.randrange(1, 4)):
            client.put("/camera", content=bytes(chance.choice([0, 10, 300_000])))


def breaks_off(gate: Gate, session: UUID, chance: random.Random) -> None:
    with raw(gate, "GET", gate.path(chance.choice(["/endless", "/events", "/silent"]), session)) as stream:
        stream.settimeout(chance.choice([0.01, 0.3]))
        with contextlib.suppress(TimeoutError):
            stream.recv(1000)
        if chance.random() < 0.5:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def uploads_half(gate: Gate, session: UUID, chance: random.Random) -> None:
    with raw(gate, "POST", gate.path("/upload", session), "Content-Length: 100000") as stream:
        stream.sendall(bytes(chance.randrange(100_000)))


def talks(gate: Gate, session: UUID, chance: random.Random) -> None:
    url = f"ws://127.0.0.1:{gate.port}{gate.path(chance.choice(['/ws', '/flood']), session)}"
    with connect(url, additional_headers=gate.owner.headers, proxy=None, max_size=2**24) as opened:
        opened.send("x")
        opened.recv(10)
        if chance.random() < 0.5:
            opened.socket.shutdown(socket.SHUT_RDWR)


def is_ended_meanwhile(gate: Gate, session: UUID, chance: random.Random) -> None:
    with raw(gate, "GET", gate.path("/endless", session), "Connection: close") as stream:
        stream.recv(1000)
        del gate.sessions.ways[session]
        while stream.recv(2**18):
            pass


def finds_nobody(gate: Gate, session: UUID, chance: random.Random) -> None:
    _, way = gate.sessions.ways[session]
    nowhere = gate.sessions.add(gate.user, free_port(), target=way.target)
    with gate.client(session=nowhere) as client:
        assert client.get("/").status_code == 502


USES: list[Callable[[Gate, UUID, random.Random], None]] = [
    *(asks, breaks_off, uploads_half, talks, is_ended_meanwhile, finds_nobody)
]


def use(gate: Gate, target: Target, host: SshHost, seed: float) -> None:
    chance = random.Random(seed)
    session = gate.sessions.add(gate.user, gate.node_port, target=target)
    if chance.random() < 0.02:
        host.cut_sessions()
    with contextlib.suppress(httpx.HTTPError, OSError, EOFError, WebSocketException):
        chance.choice(USES)(gate, session, chance)
    gate.sessions.ways.pop(session, None)


def test_nothing_is_left_of_what_a_sites_connection_carried(
    gate: Gate, target: Target, ssh_host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(websocket, "CHECK_SECONDS", 0.3)
    chance = random.Random(7)
    most: list[int] = []
    with ThreadPoolExecutor(6) as pool:
        for _ in range(4):
            list(
                pool.map(
                    lambda seed: use(gate, target, ssh_host, seed), [chance.random() for _ in range(SESSIONS // 4)]
                )
            )
            gate.node.released.set()
            until(lambda: not any(carried().values()))
            until(lambda: connections(gate.node_port) == 0)
            assert carried() == {"slots": 0, "threads": 0, "tasks": 0}
            most.append(sockets())
            until(lambda: sockets() <= most[0])  # those of clients that have gone may close a moment later
    assert gate.node.sockets == 0
    assert channels(target) == 0
    assert sum(traffic.requests.values()) > SESSIONS // 2


def channels(target: Target) -> int:
    """Streams that the connection still has open."""
    transport = connection_to(target)._transport
    return 0 if transport is None else len(transport._channels.values())  # type: ignore[attr-defined]
