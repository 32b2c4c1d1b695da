"""Somebody who sends a request and hangs up: a node that is killed, or has no time to hear an answer."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from rrm.asgi import ThreadedHandler

pytestmark = pytest.mark.django_db(transaction=True)

BODY = b"results of a range"
THREADS = 16
PATIENCE = 30.0

begun, may_read = threading.Semaphore(0), threading.Event()
read: list[bytes | Exception] = []
closed: list[bool] = []


class Answer(HttpResponse):
    """One that notes when it is closed."""

    def close(self) -> None:
        closed.append(True)
        super().close()


@csrf_exempt
def reads_late(request: HttpRequest) -> HttpResponse:
    """As views of nodes do, which look first who calls."""
    begun.release()
    may_read.wait(PATIENCE)
    try:
        read.append(request.read())
    except Exception as error:
        read.append(error)
        raise
    return Answer()


urlpatterns = [path("late", reads_late)]


@pytest.fixture(autouse=True)
def urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    may_read.clear()
    read.clear()
    closed.clear()


async def call(gone: asyncio.Event) -> None:
    """A request of which all comes, until the caller is gone."""
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/late",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-length", str(len(BODY)).encode())],
    }
    parts = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> dict[str, object]:
        if parts:
            return parts.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Mapping[str, object]) -> None:
        assert not gone.is_set(), "nobody is there to be answered"

    await ThreadedHandler()(scope, receive, send)


async def wait_for(calls: int) -> None:
    for _ in range(calls):
        assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE)


async def hang_up_at_work() -> None:
    gone = asyncio.Event()
    calling = asyncio.create_task(call(gone))
    await wait_for(1)
    gone.set()
    await asyncio.wait([calling], timeout=0.2)  # time enough to take the body away
    may_read.set()
    await asyncio.wait_for(calling, PATIENCE)


async def hang_up_in_the_queue() -> None:
    busy = [asyncio.create_task(call(asyncio.Event())) for _ in range(THREADS)]
    await wait_for(THREADS)
    gone = asyncio.Event()
    calling = asyncio.create_task(call(gone))
    await asyncio.wait([calling], timeout=0.2)
    gone.set()
    await asyncio.wait([calling], timeout=0.2)
    may_read.set()
    await asyncio.wait_for(asyncio.gather(calling, *busy), PATIENCE)


async def hang_up_as_the_process_ends() -> None:
    gone = asyncio.Event()
    calling = asyncio.create_task(call(gone))
    await wait_for(1)
    gone.set()
    for _ in range(2):
        await asyncio.wait([calling], timeout=0.2)
        calling.cancel()
    may_read.set()
    await asyncio.wait([calling], timeout=PATIENCE)


def test_what_was_sent_whole_is_read_and_done_though_the_sender_has_hung_up(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async_to_sync(hang_up_at_work)()
    assert read == [BODY]
    assert closed == [True], "the answer that nobody gets"
    assert not caplog.records


def test_what_has_begun_ends_though_its_task_is_ended_twice() -> None:
    async_to_sync(hang_up_as_the_process_ends)()
    assert read == [BODY]


def test_what_nobody_waits_for_is_not_begun() -> None:
    async_to_sync(hang_up_in_the_queue)()
    assert read == [BODY] * THREADS
