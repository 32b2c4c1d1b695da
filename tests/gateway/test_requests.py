"""Requests through the gateway, with a real server on both sides: they are streamed, and what is bad stays outside."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rrm.gateway import exchange, sockets
from rrm.gateway.slots import MOST_OF_A_SESSION, traffic
from tests.gateway.conftest import Gate
from tests.gateway.servers import RawNode, head, saying, until
from tests.services import free_port


@contextlib.contextmanager
def raw(gate: Gate, method: str, path: str, *lines: str) -> Iterator[socket.socket]:
    """A connection to the manager on which a request of the owner has begun."""
    with socket.create_connection(("127.0.0.1", gate.port), timeout=20) as stream:
        secret = gate.owner.headers["Authorization"]
        request = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: {secret}", *lines, "", ""]
        stream.sendall("\r\n".join(request).encode())
        yield stream


def answer_to(gate: Gate, node: RawNode, path: str = "/x", method: str = "GET", **more: Any) -> httpx.Response:
    """What the owner gets from a node of the test's own."""
    try:
        with gate.client(session=gate.book(node.port)) as client:
            return client.request(method, path, **more)
    finally:
        node.close()


def code_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return str(answer.json()["code"])


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


def settled(measure: Any, pause: float = 0.7) -> int:
    """The value at which it stays."""
    last = -1
    for _ in range(40):
        if (now := int(measure())) == last:
            return now
        last = now
        time.sleep(pause)
    raise AssertionError(f"it still grows: {last}")


def test_a_client_that_leaves_ends_the_nodes_work_at_once(gate: Gate) -> None:
    with raw(gate, "GET", gate.path("/silent")):
        until(lambda: gate.node.requests)
    until(gate.node.ended.is_set, 2)


def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it(gate: Gate) -> None:
    with raw(gate, "POST", gate.path("/upload"), "Content-Length: 100") as stream:
        stream.sendall(b"half")
        until(lambda: b"half" in gate.node.bodies)
    until(gate.node.ended.is_set, 2)


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
    assert time.monotonic() - began < 2


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
    monkeypatch.setattr(exchange, "FIRST_BYTE_SECONDS", 0.5)
    with raw(gate, "POST", gate.path("/upload"), "Content-Length: 8") as stream:
        for _ in range(8):
            time.sleep(0.15)
            stream.sendall(b"x")
        assert b"200 OK" in head(stream)


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
    with raw(gate, "GET", gate.path("/endless")):
        until(lambda: traffic.open["http"] == 1)
        until(lambda: traffic.open["http"] == 0)
        until(gate.node.ended.is_set)


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


def test_an_early_refusal_of_a_body_reaches_the_client(gate: Gate) -> None:
    def refuse(stream: socket.socket) -> None:
        head(stream)
        stream.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        time.sleep(0.5)

    node = RawNode(refuse)
    with raw(gate, "POST", gate.path("/x", gate.book(node.port)), "Content-Length: 1000000") as stream:
        stream.sendall(bytes(1000))
        said = head(stream)
        assert b" 413 " in said
        assert b"connection: close" in said
    node.close()


@pytest.mark.parametrize(
    "rest",
    [
        *("/../../../../../healthz", "/..%2f..%2fhealthz", "/%2e%2e/x", "/%00", "/a%0d%0aX-Injected:%201", "/.%252e/x"),
    ],
)
def test_path_games_are_refused(gate: Gate, rest: str) -> None:
    with raw(gate, "GET", gate.path(rest)) as stream:
        said = head(stream)
    assert b" 400 " in said
    assert b"bad-path" in said
    assert not gate.node.requests


def test_other_hosts_in_the_request_change_nothing(gate: Gate) -> None:
    trap = RawNode(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrap"))
    evil = f"127.0.0.1:{trap.port}"
    for target in (gate.path(f"//{evil}/x"), gate.path(f"/http://{evil}/x"), f"http://{evil}{gate.path('/x')}"):
        with raw(gate, "GET", target, f"X-Forwarded-Host: {evil}", f"Forwarded: host={evil}") as stream:
            assert b" 201 " in head(stream)
    hosts = {value for seen in gate.node.requests for name, value in seen["headers"] if name == "host"}
    assert hosts == {f"127.0.0.1:{gate.node_port}"}
    assert len(gate.node.requests) == 3
    assert trap.accepted == 0
    trap.close()


def test_only_a_name_that_leads_to_a_machine_is_connected_to(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("169.254.169.254", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"):  # noqa: S104
        session = gate.sessions.add(gate.user, gate.node_port, host=host)
        with gate.client(session=session) as client:
            assert code_of(client.get("/"), 502) == "node-unreachable"
    assert not gate.node.requests


def test_a_connection_to_a_node_is_used_again(gate: Gate) -> None:
    with gate.client() as client:
        for _ in range(5):
            client.post("/", content=b"x")
    assert len({tuple(seen["client"]) for seen in gate.node.requests}) == 1


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
