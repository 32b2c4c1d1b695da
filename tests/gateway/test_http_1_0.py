"""Clients of HTTP/1.0, who know neither chunks nor how to keep a connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from tests.gateway.conftest import Gate
from tests.gateway.servers import RawNode, saying


def test_a_client_of_http_1_0_gets_a_stream_without_chunks_as_it_comes(gate: Gate) -> None:
    with old(gate, "GET", gate.path("/events")) as stream:
        said = b""
        while not said.endswith(b"\r\n\r\ndata: 1\n\n"):
            piece = stream.recv(65536)
            assert piece, said
            said += piece
        gate.node.released.set()
        assert rest(stream) == b"data: 2\n\n"
    assert b"\r\nconnection: close\r\n" in said
    assert b"transfer-encoding" not in said


def test_a_client_of_http_1_0_gets_whole_answers_with_their_length(gate: Gate) -> None:
    node = RawNode(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    with old(gate, "GET", gate.path("/x", gate.book(node.port))) as stream:
        said = rest(stream)
    assert b"\r\ncontent-length: 2\r\n" in said
    assert said.endswith(b"\r\n\r\nok")
    with old(gate, "HEAD", gate.path("/events")) as stream:
        assert rest(stream).endswith(b"\r\n\r\n")
    with old(gate, "GET", gate.path("/..%2fx")) as stream:
        assert b" 400 " in rest(stream)
    node.close()


@contextlib.contextmanager
def old(gate: Gate, method: str, path: str) -> Iterator[socket.socket]:
    """A connection to the manager on which a request of the owner has begun."""
    with socket.create_connection(("127.0.0.1", gate.port), timeout=20) as stream:
        secret = gate.owner.headers["Authorization"]
        stream.sendall(f"{method} {path} HTTP/1.0\r\nAuthorization: {secret}\r\n\r\n".encode())
        yield stream


def rest(stream: socket.socket) -> bytes:
    """Everything until the other side ends."""
    return b"".join(iter(lambda: stream.recv(65536), b""))
