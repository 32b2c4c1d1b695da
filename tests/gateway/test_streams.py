"""Bodies through the gateway: each part is passed on as it comes, and nothing is kept for who does not read."""

from __future__ import annotations

import contextlib

import pytest

from rrm.gateway import exchange
from rrm.gateway.slots import MOST_OF_A_SESSION, traffic
from tests.gateway.asking import (
    code_of,
    raw,
    settled,
)
from tests.gateway.conftest import Gate
from tests.gateway.servers import head, until


def test_the_first_event_arrives_before_the_last_is_sent(gate: Gate) -> None:
    with gate.client() as client, client.stream("GET", "/events") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: 1\n\n"
        assert "content-encoding" not in answer.headers
        gate.node.released.set()
        assert b"".join(pieces) == b"data: 2\n\n"


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 10"])
def test_the_node_sees_an_upload_while_it_is_being_sent(gate: Gate, framing: str) -> None:
    is_chunked = framing.startswith("T")
    with raw(gate, "POST", gate.path("/upload"), framing, "Connection: close") as stream:
        stream.sendall(b"5\r\nfirst\r\n" if is_chunked else b"first")
        until(lambda: b"first" in gate.node.bodies)
        stream.sendall(b"5\r\nother\r\n0\r\n\r\n" if is_chunked else b"other")
        assert b"200 OK" in head(stream)
    assert b"".join(gate.node.bodies) == b"firstother"


def test_an_answer_may_begin_before_the_request_has_ended(gate: Gate) -> None:
    with raw(gate, "POST", gate.path("/duplex"), "Transfer-Encoding: chunked") as stream:
        got = b""
        for word in (b"one", b"two", b"end"):
            stream.sendall(b"3\r\n" + word + b"\r\n")
            while word.upper() not in got:
                got += stream.recv(65536)
        stream.sendall(b"0\r\n\r\n")
        while not got.endswith(b"0\r\n\r\n"):
            got += stream.recv(65536)


def test_a_client_that_waits_for_permission_to_send_its_body_gets_it(gate: Gate) -> None:
    with raw(gate, "PUT", gate.path("/upload"), "Content-Length: 4", "Expect: 100-continue") as stream:
        assert b"100 Continue" in stream.recv(1000)
        stream.sendall(b"body")
        assert b"200 OK" in head(stream)
    assert ("expect", "100-continue") not in gate.node.requests[-1]["headers"]


def test_a_client_that_does_not_read_stops_the_node(gate: Gate) -> None:
    with raw(gate, "GET", gate.path("/endless")) as stream:
        head(stream)
        assert settled(lambda: gate.node.sent) < 40 * 2**20  # what fits into the buffers of three connections
        before = gate.node.sent
        for _ in range(1000):
            stream.recv(2**16)
        until(lambda: gate.node.sent > before)
    until(gate.node.ended.is_set)  # the node is told that nobody listens


def test_a_node_that_does_not_read_stops_the_client(gate: Gate) -> None:
    with raw(gate, "POST", gate.path("/deaf"), "Content-Length: 1000000000") as stream:
        stream.setblocking(False)
        sent = 0

        def push() -> int:
            nonlocal sent
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += stream.send(bytes(2**16))
            return sent

        assert settled(push) < 40 * 2**20
        gate.node.released.set()


def test_a_client_that_leaves_ends_the_nodes_work_at_once(gate: Gate) -> None:
    with raw(gate, "GET", gate.path("/silent")):
        until(lambda: gate.node.requests)
    until(gate.node.ended.is_set)


def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it(gate: Gate) -> None:
    with raw(gate, "POST", gate.path("/upload"), "Content-Length: 100") as stream:
        stream.sendall(b"half")
        until(lambda: b"half" in gate.node.bodies)
    until(gate.node.ended.is_set)


def test_a_body_that_does_not_come_frees_the_slot(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "UPLOAD_SECONDS", 0.3)
    with raw(gate, "POST", gate.path("/upload"), "Content-Length: 8") as stream:
        stream.sendall(b"x")
        said = head(stream)
    assert b"408 Request Timeout" in said
    assert b"request-timeout" in said
    until(gate.node.ended.is_set)


def test_a_client_that_never_reads_frees_its_slot(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CLIENT_SECONDS", 0.5)
    before = traffic.requests["http"]
    with raw(gate, "GET", gate.path("/endless")):
        until(lambda: traffic.requests["http"] > before)
        until(lambda: traffic.open["http"] == 0)
        until(gate.node.ended.is_set)


def test_streams_of_a_session_are_bounded_and_freed(gate: Gate) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_OF_A_SESSION):
            stack.enter_context(raw(gate, "GET", gate.path("/silent")))
        until(lambda: traffic.open["http"] == MOST_OF_A_SESSION)
        with gate.client() as client:
            answer = client.get("/")
            assert code_of(answer, 503) == "busy"
            assert answer.headers["Retry-After"] == "1"
            other = gate.book(gate.node_port)
            assert client.get(gate.url + gate.path("/", other)).status_code == 201
    until(lambda: traffic.open["http"] == 0)
    with gate.client() as client:
        assert client.get("/").status_code == 201


def test_a_stream_ends_with_its_session(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.1)
    with raw(gate, "GET", gate.path("/events")) as stream:
        head(stream)
        del gate.sessions.ways[gate.session]
        while stream.recv(65536):
            pass
