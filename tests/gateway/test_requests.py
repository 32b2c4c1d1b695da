"""Requests through the gateway, with a real server on both sides: they arrive whole, and so do the answers."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import httpx
import pytest

from rrm.gateway.slots import traffic
from tests.gateway.asking import (
    answer_to,
    raw,
)
from tests.gateway.conftest import Gate
from tests.gateway.servers import RawNode, head, saying


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_passes_with_query_and_body(gate: Gate, method: str) -> None:
    body = None if method in ("GET", "OPTIONS") else b"x" * 5_000_000  # more than other routes take
    with gate.client() as client:
        answer = client.request(method, "/some/path?a=1&b=%20", content=body, headers={"X-Wish": "1"})

    assert answer.status_code == 201
    seen = answer.json()
    assert (seen["method"], seen["raw_path"], seen["query"]) == (method, "/some/path", "a=1&b=%20")
    assert seen["length"] == len(body or b"")
    assert ["x-wish", "1"] in seen["headers"]
    assert ["x-rrm-session", str(gate.session)] in seen["headers"]
    assert ["x-rrm-key", "the-key"] in seen["headers"]
    assert not {"authorization", "cookie"} & {name for name, _ in seen["headers"]}
    assert "set-cookie" not in answer.headers
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")


def test_head_has_headers_and_no_body(gate: Gate) -> None:
    with gate.client() as client:
        answer = client.head("/")
        assert (answer.status_code, answer.content) == (201, b"")
        assert client.get("/").status_code == 201  # on the same connection


def test_the_root_may_be_asked_for_without_a_slash(gate: Gate) -> None:
    with gate.client() as client:
        assert client.get(gate.url + gate.path("")).json()["raw_path"] == "/"


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nall until the end", b"all until the end"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nrest", b"rest"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than was announced", b"ok"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=lambda value: value[:30].decode(),
)
def test_odd_but_proper_answers_pass(gate: Gate, said: bytes, body: bytes) -> None:
    answer = answer_to(gate, RawNode(saying(said)))

    assert (answer.status_code, answer.content) == (int(said.rpartition(b"HTTP/1.")[2][2:5]), body)
    assert not {"set-cookie", "link", "x-sum"} & set(answer.headers)


def test_an_early_refusal_of_a_body_reaches_the_client(gate: Gate) -> None:
    def refuse(stream: socket.socket) -> None:
        head(stream)
        stream.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        while stream.recv(65536):  # until the gateway has done with it: an end with bytes unread takes the answer back
            pass

    node = RawNode(refuse)
    with raw(gate, "POST", gate.path("/x", gate.book(node.port)), "Content-Length: 1000000") as stream:
        stream.sendall(bytes(1000))
        said = head(stream)
        assert b" 413 " in said
        assert b"connection: close" in said
    node.close()


def test_a_connection_to_a_node_is_used_again(gate: Gate) -> None:
    with gate.client() as client:
        for _ in range(5):
            client.post("/", content=b"x")
    # A client may be faster with its next request than the gateway is with putting the connection back.
    assert len({tuple(seen["client"]) for seen in gate.node.requests}) < 5


def test_a_connection_that_the_node_has_ended_is_replaced(gate: Gate) -> None:
    def once(stream: socket.socket) -> None:
        head(stream)
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        head(stream)  # ends at the moment when the next request is there

    node = RawNode(once)
    with gate.client(session=gate.book(node.port)) as client:
        assert [client.get("/").text for _ in range(3)] == ["ok"] * 3
    assert node.accepted == 3
    node.close()


def test_using_a_session_renews_it_now_and_then(gate: Gate) -> None:
    with gate.client() as client:
        for _ in range(20):
            client.get("/")
    assert gate.sessions.touched == [gate.session]


def test_traffic_is_counted(gate: Gate) -> None:
    before = dict(traffic.bytes), traffic.requests["http"]
    with gate.client() as client:
        size = len(client.post("/", content=b"12345").content)
    assert traffic.bytes["to_node"] - before[0].get("to_node", 0) == 5
    assert traffic.bytes["to_client"] - before[0].get("to_client", 0) == size
    assert traffic.requests["http"] - before[1] == 1
    metrics = httpx.get(f"{gate.url}/metrics", trust_env=False).text
    assert 'rrm_gateway_bytes_total{direction="to_node"}' in metrics
    assert 'rrm_gateway_open_streams{kind="websocket"} 0.0' in metrics


def test_requests_at_the_same_time_do_not_mix(gate: Gate) -> None:
    failures: list[Any] = []

    def ask(number: int) -> None:
        with gate.client() as client:
            for turn in range(10):
                seen = client.post(f"/{number}/{turn}", content=str(number).encode() * 1000).json()
                if (seen["raw_path"], seen["length"]) != (f"/{number}/{turn}", 1000 * len(str(number))):
                    failures.append(json.dumps(seen))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
