"""Nodes that are not there, say nothing or say nonsense: the client is told, and what is bad stays outside."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from rrm.gateway import exchange, sockets
from tests.gateway.asking import (
    answer_to,
    code_of,
    raw,
)
from tests.gateway.conftest import Gate
from tests.gateway.servers import RawNode, head, saying
from tests.services import free_port


def test_a_node_that_dies_in_the_middle_of_its_answer_ends_the_clients_connection(gate: Gate) -> None:
    for answer in (b"Content-Length: 10\r\n\r\n12345", b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"):
        with pytest.raises(httpx.RemoteProtocolError):
            answer_to(gate, RawNode(saying(b"HTTP/1.1 200 OK\r\n" + answer)))


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 600 Beyond\r\nContent-Length: 1\r\n\r\nx",
    ],
    ids=lambda said: said[:40].decode(),
)
def test_a_node_that_does_not_speak_http_is_told(gate: Gate, nonsense: bytes) -> None:
    assert code_of(answer_to(gate, RawNode(saying(nonsense))), 502) == "node-failed"


def test_parts_of_an_answer_set_no_cookies(gate: Gate) -> None:
    """Browsers take them from the parts of a stream too."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n"
    part = b"--b\r\nSet-Cookie: a=b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--\r\n"
    length = b"Content-Length: %d\r\n" % len(part)

    passed = answer_to(gate, RawNode(saying(head + length + b"\r\n" + part)))

    assert (b"cookie" in passed.content.lower(), len(passed.content)) == (False, len(part))
    packed = RawNode(saying(head + length + b"Content-Encoding: gzip\r\n\r\n" + part))
    assert code_of(answer_to(gate, packed), 502) == "node-failed"


def test_a_node_that_is_not_there_is_told_at_once(gate: Gate) -> None:
    began = time.monotonic()
    with gate.client(session=gate.book(free_port())) as client:
        assert code_of(client.get("/"), 502) == "node-unreachable"
    assert time.monotonic() - began < 30


def test_a_node_that_takes_no_connection_or_gives_no_answer_is_told(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(exchange, "FIRST_BYTE_SECONDS", 0.3)
    with gate.client() as client:
        assert code_of(client.get("/silent"), 504) == "node-timeout"
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(place)
        with gate.client(session=gate.book(place[1])) as client:
            assert code_of(client.get("/"), 504) == "node-timeout"
        for one in crowd:
            one.close()


def test_a_node_has_its_time_from_the_end_of_the_body_on(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIRST_BYTE_SECONDS", 1.5)
    with raw(gate, "POST", gate.path("/upload"), "Content-Length: 8") as stream:
        for _ in range(8):  # for longer than that in all
            time.sleep(0.2)
            stream.sendall(b"x")
        assert b"200 OK" in head(stream)


def test_redirects_are_not_followed_and_lead_nowhere_else(gate: Gate) -> None:
    trap = RawNode(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrap"))
    for place in (f"http://127.0.0.1:{trap.port}/", "http://169.254.169.254/latest", f"//127.0.0.1:{trap.port}/"):
        said = f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
        answer = answer_to(gate, RawNode(saying(said.encode())))
        assert answer.status_code == 302
        assert "location" not in answer.headers
    inside = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: ../y?z=1\r\nContent-Length: 0\r\n\r\n"
    answer = answer_to(gate, RawNode(saying(inside)), "/a/b")
    assert answer.headers["location"].endswith("/proxy/y?z=1")
    assert trap.accepted == 0
    trap.close()
