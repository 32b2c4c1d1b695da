"""Bodies that are too large, too slow or from nobody are refused before they are read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone

from rrm.api import limits as limiting
from rrm.api.limits import BodyLimit
from rrm.domain.states import NodeState
from rrm.farm import tokens
from rrm.farm.transitions import advance
from tests import factories as make
from tests.factories import API, Caller
from tests.integration.farm.conftest import Farm

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


@pytest.fixture
def node(shared_farm: Farm) -> Caller:
    return make.registered_node(shared_farm.resource, shared_farm.site)[1]


def send(
    method: str,
    path: str,
    pieces: Iterable[bytes],
    announced: str | None = None,
    app: Reader | None = None,
    by: Caller = Caller(),  # noqa: B008  (frozen)
) -> tuple[int, bytes, int]:
    """(status, body of the answer, pieces that were read)."""
    left, messages = list(pieces), []
    headers = [(b"content-length", announced.encode())] if announced is not None else []
    headers += [(name.lower().encode(), value.encode()) for name, value in by.headers.items()]

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


def test_results_may_be_larger_than_other_bodies(node: Caller) -> None:
    assert send("PUT", LEASE, [b"x" * 1000], announced="1000", by=node)[0] == 200
    assert send("PUT", LEASE.replace("d6a5", "D6A5"), [b"x" * 1000], by=node)[0] == 200
    assert send("PUT", LEASE, [b"x" * 1001], announced="1001", by=node)[0] == 413
    assert send("PUT", LEASE, [b"x" * 600] * 3, by=node)[0] == 413


@pytest.mark.parametrize("announced", ["1000", None])
def test_large_results_of_nobody_are_not_read(shared_farm: Farm, announced: str | None) -> None:
    forged = Caller("rrm_" + "x" * 43)
    token_of_a_person = Caller(tokens.issue(shared_farm.owner, "t", ["read"])[1])

    for nobody in (Caller(), Caller("secret"), forged, token_of_a_person):
        status, body, read = send("PUT", LEASE, [b"x" * 1000], announced=announced, by=nobody)

        assert (status, read) == (401, 0)
        assert json.loads(body)["code"] == "unauthorised"


@pytest.mark.parametrize("path", [f"{API}node-agent/lease/0", f"{API}node-agent/lease/{'-' * 36}"])
def test_a_lease_that_cannot_be_one_takes_no_large_body(node: Caller, path: str) -> None:
    assert send("PUT", path, [b"x" * 1000], announced="1000", by=node)[0] == 413


def test_a_node_that_is_gone_delivers_nothing_large(shared_farm: Farm) -> None:
    row, gone = make.registered_node(shared_farm.resource, shared_farm.site)
    advance(row, NodeState.FAILED, "test", finished_at=timezone.now(), token_digest="", launch_digest="")

    assert send("PUT", LEASE, [b"x" * 1000], announced="1000", by=gone)[0] == 401


@pytest.mark.parametrize(("method", "path"), [("POST", LEASE), ("POST", f"{LEASE}/fail"), ("PUT", f"{LEASE}/../x")])
def test_other_routes_have_the_smaller_limit(method: str, path: str) -> None:
    assert send(method, path, [b"x" * 101], announced="101")[0] == 413


async def _never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def _scope(method: str, path: str, by: Caller) -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode()) for name, value in by.headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": headers}


def test_a_body_that_stops_coming_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "_SILENCE_SECONDS", 0.05)
    messages: list[Any] = []

    async def take(message: Any) -> None:
        messages.append(message)

    asyncio.run(BodyLimit(Reader())(_scope("POST", f"{API}job/", Caller()), _never, take))

    assert messages[0]["status"] == 408
    assert json.loads(messages[1]["body"])["code"] == "request-timeout"


def test_a_body_that_trickles_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "_BODY_SECONDS", 0.1)
    messages: list[Any] = []

    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def take(message: Any) -> None:
        messages.append(message)

    asyncio.run(BodyLimit(Reader())(_scope("POST", f"{API}job/", Caller()), trickle, take))

    assert messages[0]["status"] == 408


def test_an_answer_may_take_longer_than_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "_SILENCE_SECONDS", 0.05)
    outcome: list[str] = []

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.wait_for(receive(), 0.2)
        except TimeoutError:
            outcome.append("still connected")

    pieces = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        return next(pieces, None) or await _never()

    async def take(message: Any) -> None:
        raise AssertionError(message)

    asyncio.run(BodyLimit(streaming)(_scope("GET", f"{API}farm/events", Caller()), receive, take))

    assert outcome == ["still connected"]


def test_few_large_results_are_taken_in_at_once(node: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "_UPLOADS", 2)
    monkeypatch.setattr(limiting, "_TURN_SECONDS", 0.1)
    answers: list[Any] = []

    async def story() -> None:
        finish, under_way = asyncio.Event(), asyncio.Semaphore(0)

        async def receive() -> dict[str, Any]:
            under_way.release()
            await finish.wait()
            return {"type": "http.request", "body": b"x" * 1000, "more_body": False}

        async def take(message: Any) -> None:
            if message["type"] == "http.response.start":
                answers.append((message["status"], dict(message["headers"])))

        upload = BodyLimit(Reader())
        first = [asyncio.create_task(upload(_scope("PUT", LEASE, node), receive, take)) for _ in range(2)]
        for _ in first:
            await under_way.acquire()
        await upload(_scope("PUT", LEASE, node), receive, take)
        finish.set()
        await asyncio.gather(*first)
        await upload(_scope("PUT", LEASE, node), receive, take)

    asyncio.run(story())

    assert [status for status, _ in answers] == [503, 200, 200, 200]
    assert answers[0][1][b"retry-after"] == b"1"
