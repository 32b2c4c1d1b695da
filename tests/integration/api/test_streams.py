"""Event streams: everything in order, from any point on, to many listeners at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from rrm.api import hub as hubs
from rrm.api import streams
from rrm.farm import jobs
from rrm.farm.models import Event, Job, Node
from rrm.farm.transitions import record
from rrm.farm.wakeups import EVENTS
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.api.asgi import asked
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db(transaction=True)


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Tell a story in an event loop of its own."""
    asyncio.run(asyncio.wait_for(story(), 60))


@sync_to_async(thread_sensitive=False)
def later(work: Callable[..., Any], *args: Any) -> Any:
    """Do something in another thread, as another request would."""
    try:
        return work(*args)
    finally:
        connection.close()


@pytest.fixture
def ada(shared_farm: Farm) -> Caller:
    return make.caller(shared_farm.owner)


def _numbers(events: list[Any]) -> list[int]:
    return [int(event.id) for event in events if event.id]


def test_a_job_stream_begins_with_everything_and_goes_on(shared_farm: Farm, ada: Caller) -> None:
    job = shared_farm.submit()

    async def story() -> None:
        async with asked(ada, "GET", f"job/{job.pk}/events") as stream:
            assert stream.status == 200
            assert stream.headers["content-type"] == "text/event-stream"
            assert stream.headers["cache-control"] == "no-store"
            assert stream.headers["x-accel-buffering"] == "no"
            first, progress = await stream.events(2)
            assert (first.name, first.id, first.data["state"]) == ("state", "1", "QUEUED")
            assert (progress.name, progress.id, progress.data["done"]) == ("progress", None, 0)
            await later(jobs.pause, job, "ada")
            paused = (await stream.until("state"))[-1]
            assert (paused.id, paused.data["state"], paused.data["reason"]) == ("2", "PAUSED", "Paused by ada")
            assert paused.data["at"].endswith("Z")

    run(story)


def test_a_job_stream_follows_a_job_to_its_end(shared_farm: Farm, ada: Caller) -> None:
    job = shared_farm.submit()
    node = shared_farm.node()

    async def story() -> None:
        async with asked(ada, "GET", f"job/{job.pk}/events") as stream:
            await stream.event()
            await later(shared_farm.deliver, node, await later(shared_farm.lease, node))
            await later(_cancel, job)
            events = await stream.until("end")
            await stream.body()
            assert stream.over
        assert _numbers(events) == list(range(2, 2 + len(_numbers(events))))
        assert [event.name for event in events if event.id][-1] == "state"
        tiles = next(event for event in events if event.name == "tiles")
        assert {"lease", "start", "stop", "site", "color", "node", "node_name", "hostname", "render_ms", "warm"} <= set(
            tiles.data
        )
        reports = [event for event in events if event.name == "progress"]
        assert reports[-1].data["done"] == tiles.data["stop"] - tiles.data["start"]
        assert all(event.id is None for event in reports)

    run(story)


def _cancel(job: Job) -> None:
    jobs.cancel(Job.objects.get(pk=job.pk), "ada")


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "query"])
def test_a_stream_resumes_after_the_last_event_seen(shared_farm: Farm, ada: Caller, by_header: bool) -> None:
    job = shared_farm.submit()
    for action in (jobs.pause, jobs.resume, jobs.cancel):
        action(Job.objects.get(pk=job.pk), "ada")
    path = f"job/{job.pk}/events" + ("" if by_header else "?last_event_id=2")
    headers: dict[str, Any] = {"Last_Event_ID": "2"} if by_header else {}

    async def story() -> None:
        async with asked(ada, "GET", path, **headers) as stream:
            events = await stream.until("end")
        assert _numbers(events) == [3, 4]

    run(story)


def test_a_stream_of_a_finished_job_that_was_seen_ends_at_once(shared_farm: Farm, ada: Caller) -> None:
    job = shared_farm.submit()
    _cancel(job)

    async def story() -> None:
        async with asked(ada, "GET", f"job/{job.pk}/events", Last_Event_ID="2") as stream:
            assert (await stream.event()).name == "end"

    run(story)


def test_a_job_that_was_retried_is_not_over(shared_farm: Farm, ada: Caller) -> None:
    job = shared_farm.submit()
    _cancel(job)
    jobs.retry(Job.objects.get(pk=job.pk), "ada")

    async def story() -> None:
        async with asked(ada, "GET", f"job/{job.pk}/events") as stream:
            events = await stream.until("progress")
            assert [event.data["state"] for event in events[:-1]] == ["QUEUED", "CANCELLED", "QUEUED"]
            await later(_cancel, job)
            assert (await stream.until("end"))[-1].name == "end"

    run(story)


def test_a_number_from_another_life_of_the_database_begins_anew(shared_farm: Farm, ada: Caller) -> None:
    job = shared_farm.submit()

    async def story() -> None:
        async with asked(ada, "GET", f"job/{job.pk}/events", Last_Event_ID="999") as stream:
            assert (await stream.event()).id == "1"

    run(story)


@pytest.mark.parametrize("path", ["job/{job}/events", "farm/events"])
def test_a_last_id_that_is_no_number_is_refused(shared_farm: Farm, ada: Caller, path: str) -> None:
    job = shared_farm.submit()

    problem(ada.get(path.format(job=job.pk), Last_Event_ID="x"), 422, "invalid")


def _noted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, note: Callable[..., int]) -> list[int]:
    """What `note` makes of the arguments of each call of a function, which is called all the same."""
    noted: list[int] = []
    original = getattr(module, name)

    def called(*arguments: Any) -> Any:
        noted.append(note(*arguments))
        return original(*arguments)

    monkeypatch.setattr(module, name, called)
    return noted


def test_many_listeners_hear_everything_and_the_database_is_read_once(
    shared_farm: Farm, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shared_farm.submit()
    reads = _noted(monkeypatch, hubs, "_read", lambda high, _: high)
    replays = _noted(monkeypatch, streams, "_replay", lambda _, last: last)

    async def listen(ready: asyncio.Semaphore) -> list[int]:
        async with asked(ada, "GET", f"job/{job.pk}/events") as stream:
            await stream.until("progress")
            ready.release()
            return _numbers(await stream.until("end"))

    async def story() -> None:
        ready = asyncio.Semaphore(0)
        listeners = [asyncio.create_task(listen(ready)) for _ in range(40)]
        for _ in listeners:
            await ready.acquire()
        assert hubs.listeners() == 40
        before = len(reads)
        for number in range(20):
            await later(record, job, "log", {"level": "info", "message": str(number)})
        await later(_cancel, job)
        heard = await asyncio.gather(*listeners)
        assert heard == [list(range(2, 23))] * 40
        assert len(reads) - before < 60
        assert replays == [0] * 40, "each reads what has been, and nobody asks whether the end was the end"
        assert hubs.listeners() == 0

    run(story)


def test_a_listener_that_cannot_keep_up_reads_the_database_again(
    shared_farm: Farm, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "QUEUE_LIMIT", 3)
    job = shared_farm.submit()

    async def story() -> None:
        found: Any = streams.job_stream(job.pk, 0)
        assert await anext(found) == b"retry: 2000\n\n"
        text = b""
        while b"event: progress" not in text:
            text += await anext(found)
        for number in range(30):
            await later(record, job, "log", {"level": "info", "message": str(number)})
        await asyncio.sleep(0.3)  # nobody reads meanwhile
        await later(_cancel, job)
        while b"event: end" not in text:
            text += await anext(found)
        await found.aclose()
        numbers = [int(line[4:]) for line in text.splitlines() if line.startswith(b"id: ")]
        assert numbers == list(range(1, 33))

    run(story)


def test_a_farm_listener_that_cannot_keep_up_reads_the_database_again(
    shared_farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "QUEUE_LIMIT", 3)
    job = shared_farm.submit()
    first = Event.objects.latest("id").pk + 1

    async def story() -> None:
        found: Any = streams.farm_stream(None, first - 1)
        text = b"".join([await anext(found) for _ in range(2)])  # it listens now
        for number in range(30):
            await later(record, job, "log", {"level": "info", "message": str(number)})
        await asyncio.sleep(0.3)  # nobody reads meanwhile
        await later(_cancel, job)
        while b"CANCELLED" not in text:
            text += await anext(found)
        await found.aclose()
        numbers = [int(line[4:]) for line in text.splitlines() if line.startswith(b"id: ")]
        assert numbers == list(range(first, first + 31))

    run(story)


def test_a_lost_wake_up_costs_seconds_and_no_event(
    shared_farm: Farm, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shared_farm.submit()
    monkeypatch.setattr(EVENTS, "ring", lambda: None)

    async def story() -> None:
        async with asked(ada, "GET", f"job/{job.pk}/events") as stream:
            await stream.until("progress")
            await later(_cancel, job)
            assert (await stream.until("state"))[-1].data["state"] == "CANCELLED"

    run(story)


def test_a_quiet_stream_shows_that_it_is_alive(shared_farm: Farm, ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.05)
    job = shared_farm.submit()

    async def story() -> None:
        for path in (f"job/{job.pk}/events", "farm/events"):
            async with asked(ada, "GET", path) as stream:
                while b": keep-alive\n\n" not in await stream.chunk():
                    pass

    run(story)


def test_a_stream_ends_after_its_time_so_that_credentials_are_checked_again(
    shared_farm: Farm, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(streams, "LIFE_SECONDS", 0.2)
    job = shared_farm.submit()

    async def story() -> None:
        for path in (f"job/{job.pk}/events", "farm/events"):
            async with asked(ada, "GET", path) as stream:
                await stream.body()
                assert stream.over

    run(story)


def test_nobody_listens_any_more_when_the_client_has_hung_up(shared_farm: Farm, ada: Caller) -> None:
    job = shared_farm.submit()

    async def story() -> None:
        async with asked(ada, "GET", f"job/{job.pk}/events") as stream, asked(ada, "GET", "farm/events"):
            await stream.until("progress")
        assert hubs.listeners() == 0

    run(story)


def test_the_farm_stream_shows_people_their_own_jobs_and_all_nodes(shared_farm: Farm, ada: Caller) -> None:
    eve, olga = make.caller(make.person("eve")), make.caller(make.person("olga", is_operator=True))

    async def story() -> None:
        async with (
            asked(ada, "GET", "farm/events") as owners,
            asked(eve, "GET", "farm/events") as strangers,
            asked(olga, "GET", "farm/events") as operators,
        ):
            await asyncio.gather(*(_settled(stream) for stream in (owners, strangers, operators)))
            job = await later(shared_farm.submit)
            await later(_cancel, job)
            await later(shared_farm.node)
            seen = [await stream.until("node") for stream in (owners, strangers, operators)]
        assert [[event.name for event in events] for events in seen] == [
            ["job", "job", "node"],
            ["node"],
            ["job", "job", "node"],
        ]
        assert seen[0][0].data["id"] == str(job.pk)
        assert seen[0][0].data["state"] == "QUEUED"
        assert seen[1][0].data["resource"] == "mandelbrot"
        assert all(event.id for events in seen for event in events)

    run(story)


async def _settled(stream: Any) -> None:
    """Wait until the stream listens: nothing is promised about what happens before."""
    assert stream.status == 200
    while not hubs.hub()._is_ready.is_set():
        await asyncio.sleep(0.01)


def test_the_farm_stream_resumes_after_the_last_event_seen(shared_farm: Farm, ada: Caller) -> None:
    job = shared_farm.submit()
    _cancel(job)
    first = Event.objects.filter(job=job).earliest("id")

    async def story() -> None:
        async with asked(ada, "GET", "farm/events", Last_Event_ID=str(first.pk)) as stream:
            event = await stream.event()
            assert (event.name, event.data["state"], event.id) == ("job", "CANCELLED", str(first.pk + 1))

    run(story)


def test_an_event_that_appears_after_a_later_one_is_still_sent_once(shared_farm: Farm) -> None:
    olga = make.caller(make.person("olga", is_operator=True))
    node: Node = shared_farm.node()
    base = Event.objects.latest("id").pk

    def write(number: int) -> None:
        Event.objects.create(
            id=base + number, kind="node", subject_type="node", subject_id=str(node.pk), data={"number": number}
        )
        EVENTS.ring()

    async def story() -> None:
        async with asked(olga, "GET", "farm/events") as stream:
            await _settled(stream)
            await later(write, 2)
            late = [await stream.event()]
            await later(write, 1)
            late.append(await stream.event())
            await later(write, 3)
            late.append(await stream.event())
        assert [event.data["number"] for event in late] == [2, 1, 3]
        # Whoever comes back after the first must get the one that was missing: it was sent without an id.
        assert [event.id for event in late] == [None, str(base + 1), str(base + 3)]

    run(story)
