"""The gateway behind a real nginx with the configuration that we ship."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from rrm.gateway.slots import traffic
from tests.gateway.asking import raw
from tests.gateway.conftest import Gate
from tests.gateway.servers import head, until
from tests.nginx import plain, running_nginx
from tests.services import free_port


@pytest.fixture
def behind(gate: Gate, tmp_path: Path) -> Iterator[Gate]:
    """The gate, reached through nginx; without TLS."""
    port = free_port()
    with running_nginx(tmp_path, plain(port, gate.port)):
        yield replace(gate, port=port)


def test_event_streams_pass_nginx_at_once(behind: Gate) -> None:
    with behind.client() as client, client.stream("GET", "/events") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: 1\n\n"
        assert "content-encoding" not in answer.headers
        behind.node.released.set()
        assert b"".join(pieces) == b"data: 2\n\n"


def test_uploads_pass_nginx_while_they_are_being_sent(behind: Gate) -> None:
    with raw(behind, "POST", behind.path("/upload"), "Transfer-Encoding: chunked", "Connection: close") as stream:
        stream.sendall(b"5\r\nfirst\r\n")
        until(lambda: b"first" in behind.node.bodies)
        stream.sendall(b"0\r\n\r\n")
        assert b" 200 " in head(stream)
    announced = f"Content-Length: {300 * 2**20}"  # more than other routes take
    with raw(behind, "PUT", behind.path("/upload"), announced) as stream:
        stream.sendall(b"other")
        until(lambda: b"other" in behind.node.bodies)


def test_websockets_pass_nginx(behind: Gate) -> None:
    url = f"ws://127.0.0.1:{behind.port}{behind.path('/ws')}"
    names = [Subprotocol("a")]
    with connect(url, additional_headers=behind.owner.headers, proxy=None, subprotocols=names) as opened:
        for message in ("x", bytes(900_000)):
            opened.send(message)
            assert opened.recv(20) == message
        assert opened.subprotocol == "a"
    until(lambda: behind.node.closes == [1000])


def test_who_leaves_nginx_leaves_the_node(behind: Gate) -> None:
    with raw(behind, "GET", behind.path("/silent")):
        until(lambda: traffic.open["http"] == 1)
    until(lambda: traffic.open["http"] == 0)


@pytest.mark.parametrize("rest", ["/../../../../../healthz", "/%2e%2e/%2e%2e/x", "/a/..%2f..%2fx"])
def test_path_games_are_refused_behind_nginx_too(behind: Gate, rest: str) -> None:
    with raw(behind, "GET", behind.path(rest)) as stream:
        assert b" 400 " in head(stream)
    assert not behind.node.requests
