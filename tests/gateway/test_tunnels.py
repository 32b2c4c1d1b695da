"""Nodes that only their site's host can reach, over a real sshd."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from websockets.sync.client import connect

from deployment.minicluster.sshd import SshHost
from rrm.gateway.slots import traffic
from rrm.launchers.connection import connection_to
from tests.gateway.conftest import Gate
from tests.gateway.servers import until
from tests.hosts import target_of
from tests.services import free_port


@pytest.fixture
def far(gate: Gate, ssh_host: SshHost) -> Gate:
    """The gate, with a session whose node is reached through the host."""
    target = target_of(ssh_host)
    gate.session = gate.sessions.add(gate.user, gate.node_port, target=target)
    return gate


def carriers() -> int:
    return sum(thread.name == "rrm-ssh-stream" for thread in threading.enumerate())


def test_requests_go_through_the_sites_connection(far: Gate) -> None:
    body = bytes(3_000_000)
    with far.client() as client:
        for _ in range(5):
            answer = client.put("/camera", content=body)
            assert (answer.status_code, answer.json()["length"]) == (201, len(body))
        with client.stream("GET", "/events") as events:
            pieces = events.iter_raw()
            assert next(pieces) == b"data: 1\n\n"
            far.node.released.set()
            assert b"".join(pieces) == b"data: 2\n\n"
    until(lambda: carriers() == 0)


def test_a_websocket_goes_through_the_sites_connection(far: Gate) -> None:
    url = f"ws://127.0.0.1:{far.port}{far.path('/ws')}"
    with connect(url, additional_headers=far.owner.headers, proxy=None, max_size=2**24) as opened:
        for message in ("x", bytes(5_000_000), "y"):
            opened.send(message)
            assert opened.recv(20) == message
    until(lambda: far.node.sockets == 0)
    until(lambda: carriers() == 0)


def test_who_does_not_read_stops_the_node_and_who_leaves_frees_the_stream(far: Gate) -> None:
    with far.client() as client, client.stream("GET", "/endless"):
        last = -1
        while far.node.sent != last:
            last = far.node.sent
            time.sleep(1)
        assert last < 60 * 2**20
    until(far.node.ended.is_set)
    until(lambda: carriers() == 0)
    until(lambda: not +traffic.open)


def test_a_node_that_is_not_there_and_a_host_that_is_away_are_told(far: Gate, ssh_host: SshHost) -> None:
    target = target_of(ssh_host)
    with far.client(session=far.sessions.add(far.user, free_port(), target=target)) as client:
        answer = client.get("/")
        assert (answer.status_code, answer.json()["code"]) == (502, "node-unreachable")
        assert "does not lead to" in answer.json()["detail"]
    connection_to(target).close()
    with contextlib.suppress(KeyError):
        far.sessions.ways.pop(far.session)
