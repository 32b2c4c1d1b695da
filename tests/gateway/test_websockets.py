"""WebSockets through the gateway, with a real server on both sides."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.client import ClientConnection, connect

from rrm.farm.models import Token
from rrm.gateway import websocket
from rrm.gateway.slots import MOST_OF_A_SESSION, traffic
from tests.factories import Caller
from tests.gateway.conftest import Gate
from tests.gateway.servers import RawNode, saying, until


@contextlib.contextmanager
def socket_to(gate: Gate, path: str = "/ws", by: Caller | None = None, **more: Any) -> Iterator[ClientConnection]:
    headers = more.pop("headers", (by or gate.owner).headers)
    url = f"ws://127.0.0.1:{gate.port}{gate.path(path, more.pop('session', None))}"
    options: dict[str, Any] = {"max_size": 2**26, "open_timeout": 20, "proxy": None} | more
    with connect(url, additional_headers=headers, **options) as opened:
        yield opened


def refused(gate: Gate, path: str = "/ws", **more: Any) -> tuple[int, str]:
    """The status with which the handshake is answered, and the problem's code."""
    with pytest.raises(InvalidStatus) as caught, socket_to(gate, path, **more):
        pass
    answer = caught.value.response
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, str(json.loads(answer.body or b"{}")["code"])


def ending(opened: ClientConnection) -> tuple[int, str]:
    """How the other side ends it."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            opened.recv(20)
    return opened.close_code or 0, opened.close_reason or ""


def test_text_and_binary_pass_both_ways(gate: Gate) -> None:
    messages: list[str | bytes] = ["", "hällo 😀", b"", os.urandom(1000), "x" * 2**20, bytes(15 * 2**20)]
    with socket_to(gate) as opened:
        for message in messages:
            opened.send(message)
            assert opened.recv(20) == message


def test_a_message_in_fragments_arrives_whole(gate: Gate) -> None:
    with socket_to(gate) as opened:
        opened.send(iter(["a", "b", "c"]))
        assert opened.recv(20) == "abc"


def test_the_node_gets_our_introduction_and_no_credentials(gate: Gate) -> None:
    extra = {
        "Cookie": "s=1",
        "X-Forwarded-For": "1",
        "X-RRM-Key": "forged",
        "User-Agent": "viewer",
        "Origin": "http://x",
    }
    with socket_to(gate, "/some/ws?a=1", headers=gate.owner.headers | extra, compression="deflate"):
        pass
    seen = gate.node.requests[-1]
    names = [name for name, _ in seen["headers"]]
    assert (seen["raw_path"], seen["query"]) == ("/some/ws", "a=1")
    assert {"x-rrm-key": "the-key", "x-rrm-session": str(gate.session), "user-agent": "viewer"}.items() <= dict(
        seen["headers"]
    ).items()
    assert not {"authorization", "cookie", "x-forwarded-for", "origin", "sec-websocket-extensions"} & set(names)
    assert names.count("host") == names.count("x-rrm-key") == 1


def test_the_node_chooses_the_subprotocol(gate: Gate) -> None:
    with socket_to(gate, subprotocols=["one", "two"]) as opened:
        assert opened.subprotocol == "two"
    with socket_to(gate) as opened:
        assert opened.subprotocol is None


def test_close_codes_pass_both_ways(gate: Gate) -> None:
    with socket_to(gate) as opened:
        opened.close(4001, "enough")
    until(lambda: gate.node.closes == [4001])
    with socket_to(gate) as opened:
        opened.send("close")
        assert ending(opened) == (4242, "as you wish")


def test_messages_that_are_too_large_end_it(gate: Gate) -> None:
    with socket_to(gate) as opened:
        opened.send("large")
        assert ending(opened)[0] == 1009
    with socket_to(gate) as opened, contextlib.suppress(ConnectionClosed):
        opened.send(bytes(17 * 2**20))
        assert ending(opened)[0] == 1009
    until(lambda: gate.node.sockets == 0)


def test_a_node_that_is_gone_is_told(gate: Gate) -> None:
    def accept_and_die(stream: socket.socket) -> None:
        shake(stream)
        stream.recv(1)

    node = RawNode(accept_and_die)
    with socket_to(gate, session=gate.book(node.port)) as opened:
        opened.send("x")
        assert ending(opened) == (1014, "The node is gone.")
    node.close()


def shake(stream: socket.socket) -> None:
    """A node's side of the handshake by hand."""
    protocol = ServerProtocol()
    while not (events := protocol.events_received()):
        protocol.receive_data(stream.recv(65536))
    request = events[0]
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    stream.sendall(b"".join(protocol.data_to_send()))


def test_a_client_that_vanishes_ends_the_nodes_side(gate: Gate) -> None:
    with socket_to(gate) as opened:
        opened.send("x")
        opened.recv(20)
        opened.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: gate.node.sockets == 0)
    assert gate.node.closes == [1001]


def test_refusals_come_before_the_upgrade(gate: Gate, stranger: Caller, reader: Caller) -> None:
    assert refused(gate, by=Caller()) == (401, "unauthorised")
    assert refused(gate, by=Caller("rrm_nonsense")) == (401, "unauthorised")
    assert refused(gate, by=reader) == (403, "forbidden")
    assert refused(gate, by=stranger) == (404, "not-found")
    assert refused(gate, "/%2e%2e/ws") == (400, "bad-path")
    assert refused(gate, session=gate.book(0)) == (409, "state-conflict")
    assert refused(gate, "/refused") == (418, "node-refused")
    assert gate.node.sockets == 0


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: ws://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", 502, "node-refused"),
        (b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", 502, "node-refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 502, "node-refused"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502, "node-failed"),
        (b"nonsense\r\n\r\n", 502, "node-failed"),
        (b"", 502, "node-failed"),
    ],
)
def test_a_node_that_opens_no_websocket_is_told(gate: Gate, said: bytes, status: int, code: str) -> None:
    node = RawNode(saying(said))
    assert refused(gate, session=gate.book(node.port)) == (status, code)
    node.close()


def test_there_are_no_websockets_elsewhere(gate: Gate) -> None:
    for path in ("/healthz", "/rendering-resource-manager/v2/session/", "/nothing"):
        with pytest.raises(InvalidStatus) as caught, connect(f"ws://127.0.0.1:{gate.port}{path}", proxy=None):
            pass
        assert caught.value.response.status_code == 404


def test_a_client_that_does_not_read_stops_the_node(gate: Gate) -> None:
    with socket_to(gate, "/flood", max_queue=1) as opened:
        last = -1
        for _ in range(40):
            time.sleep(0.7)
            if gate.node.sent == last:
                break
            last = gate.node.sent
        assert gate.node.sent == last < 40 * 2**20
        for _ in range(500):
            opened.recv(20)
        until(lambda: gate.node.sent > last)
    until(lambda: gate.node.sockets == 0)


def test_a_client_that_never_reads_frees_its_slot(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLIENT_SECONDS", 0.5)
    before = traffic.requests["websocket"]
    with handshaken(gate, "/flood"):
        until(lambda: traffic.requests["websocket"] > before)
        until(lambda: traffic.open["websocket"] == 0)
        until(lambda: gate.node.sockets == 0)


@contextlib.contextmanager
def handshaken(gate: Gate, path: str) -> Iterator[socket.socket]:
    """A client that says nothing after the handshake, not even an answer to a ping."""
    lines = [
        f"GET {gate.path(path)} HTTP/1.1",
        "Host: localhost",
        f"Authorization: {gate.owner.headers['Authorization']}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    with socket.create_connection(("127.0.0.1", gate.port), timeout=20) as stream:
        stream.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        yield stream


@pytest.mark.parametrize("pings", [0.3])
def test_a_client_that_answers_no_ping_frees_its_slot(gate: Gate) -> None:
    before = traffic.requests["websocket"]
    with handshaken(gate, "/ws") as stream:
        assert b" 101 " in stream.recv(65536)
        assert traffic.requests["websocket"] == before + 1
        until(lambda: traffic.open["websocket"] == 0)
        until(lambda: gate.node.sockets == 0)


def test_a_websocket_ends_with_its_session(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CHECK_SECONDS", 0.1)
    with socket_to(gate) as opened:
        del gate.sessions.ways[gate.session]
        assert ending(opened) == (1008, f"There is no session {gate.session}.")
    until(lambda: gate.node.sockets == 0)


def test_a_websocket_ends_with_its_token(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CHECK_SECONDS", 0.1)
    with socket_to(gate) as opened:
        Token.objects.all().delete()
        assert ending(opened) == (1008, "The token is unknown, revoked or expired.")
    until(lambda: gate.node.sockets == 0)


def test_messages_renew_the_session(gate: Gate) -> None:
    with socket_to(gate) as opened:
        for _ in range(10):
            opened.send("x")
            opened.recv(20)
    assert gate.sessions.touched == [gate.session]


def test_two_hundred_are_held_at_once_and_freed(gate: Gate) -> None:
    sessions = [gate.book(gate.node_port) for _ in range(8)]

    async def hold() -> None:
        async with contextlib.AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(
                    connect_async(
                        f"ws://127.0.0.1:{gate.port}{gate.path('/ws', sessions[number % 8])}",
                        additional_headers=gate.owner.headers,
                        proxy=None,
                        open_timeout=30,
                    )
                )
                for number in range(200)
            ]
            for number, one in enumerate(opened):
                await one.send(str(number))
            assert [await one.recv() for one in opened] == [str(number) for number in range(200)]
            assert traffic.open["websocket"] == gate.node.sockets == 200

    asyncio.run(hold())
    until(lambda: gate.node.sockets == traffic.open["websocket"] == 0)
    assert MOST_OF_A_SESSION > 200 // 8
