"""Requests of the gate's owner, and what their answers say."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx

from tests.gateway.conftest import Gate
from tests.gateway.servers import RawNode


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


def settled(measure: Any, pause: float = 0.7) -> int:
    """The value at which it stays."""
    last = -1
    for _ in range(40):
        if (now := int(measure())) == last:
            return now
        last = now
        time.sleep(pause)
    raise AssertionError(f"it still grows: {last}")
