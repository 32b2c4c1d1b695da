"""Bodies beyond the limit are refused before they are read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from rrm.api.limits import BodyLimit
from tests.factories import API

LEASE = f"{API}node-agent/lease/0190d6a5-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def limits(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    settings.RRM = replace(settings.RRM, max_body_bytes=1000)


class Reader:
    """An application that reads its whole body."""

    def __init__(self) -> None:
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            self.body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def send(
    method: str, path: str, pieces: Iterable[bytes], announced: str | None = None, app: Reader | None = None
) -> tuple[int, bytes, int]:
    """(status, body of the answer, pieces that were read)."""
    left, messages = list(pieces), []
    headers = [(b"content-length", announced.encode())] if announced is not None else []

    async def receive() -> dict[str, Any]:
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def take(message: Any) -> None:
        messages.append(message)

    count = len(left)
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(BodyLimit(app or Reader())(scope, receive, take))
    return messages[0]["status"], messages[-1]["body"], count - len(left)


def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    status, body, read = send("POST", f"{API}job/", [b"x" * 101], announced="101")

    assert (status, read) == (413, 0)
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (413, "too-large")


def test_a_body_that_turns_out_too_large_is_read_no_further() -> None:
    status, _, read = send("POST", f"{API}job/", [b"x" * 60] * 5)

    assert (status, read) == (413, 2)


def test_a_body_within_the_limit_passes() -> None:
    app = Reader()

    status, _, _ = send("POST", f"{API}job/", [b"x" * 50, b"y" * 50], announced="100", app=app)

    assert status == 200
    assert app.body == b"x" * 50 + b"y" * 50


def test_results_may_be_larger_than_other_bodies() -> None:
    assert send("PUT", LEASE, [b"x" * 1000], announced="1000")[0] == 200
    assert send("PUT", LEASE, [b"x" * 1001], announced="1001")[0] == 413
    assert send("PUT", LEASE, [b"x" * 600] * 3)[0] == 413


@pytest.mark.parametrize(("method", "path"), [("POST", LEASE), ("POST", f"{LEASE}/fail"), ("PUT", f"{LEASE}/../x")])
def test_other_routes_have_the_smaller_limit(method: str, path: str) -> None:
    assert send(method, path, [b"x" * 101], announced="101")[0] == 413
