"""Event streams: what has been, from the database, then what happens, from the hub, without a gap between.

A stream ends after a while so that credentials are checked again; clients come back with the last id they saw.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from uuid import UUID

from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.request import Request

from rrm.api.auth import Access
from rrm.api.frames import END, KEEP_ALIVE, RETRY, Frame, columns, frames, progress_frame, visible
from rrm.api.hub import Subscription, hub
from rrm.api.threads import in_database
from rrm.api.views import release_connections
from rrm.domain.states import JOB_FINAL
from rrm.errors import Invalid
from rrm.farm.jobs import progress
from rrm.farm.models import Event, Job

KEEP_ALIVE_SECONDS = 15.0
LIFE_SECONDS = 1800.0
_BATCH = 500


def job_events(request: Request, job: UUID) -> StreamingHttpResponse:
    """Everything that the job has gone through, and goes through from now on."""
    return _stream(job_stream(job, last_event_id(request) or 0))


def farm_events(request: Request, viewer: Access) -> StreamingHttpResponse:
    """What happens on the farm from now on, or after the event that the client saw last."""
    owner = None if viewer.operator else viewer.user.pk
    return _stream(farm_stream(owner, last_event_id(request)))


def session_events(request: Request, session: UUID) -> StreamingHttpResponse:
    """Everything that the session has gone through, and goes through from now on."""
    return _stream(farm_stream(None, last_event_id(request) or 0, subject=str(session)))


def last_event_id(request: Request) -> int | None:
    """Where the client wants to go on. Raises Invalid."""
    text = request.query_params.get("last_event_id") or request.META.get("HTTP_LAST_EVENT_ID") or ""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid("last_event_id", "Give the id of an event: a whole number.")
    return int(text)


def _stream(content: AsyncIterator[bytes]) -> StreamingHttpResponse:
    release_connections()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(content, content_type="text/event-stream", headers=headers)


async def job_stream(job: UUID, last: int) -> AsyncIterator[bytes]:
    """The job's events after number `last`, then new ones; `end` after the last event of a finished job."""
    ends_at = time.monotonic() + LIFE_SECONDS
    yield RETRY
    async with hub().listening(job) as subscription:
        while time.monotonic() < ends_at:
            # From the database: at the start, after falling behind, and now and then in case a wake-up was lost.
            subscription.lost, is_over, is_behind = False, False, True
            while is_behind:
                last, is_over, is_behind, missed = await in_database(_replay, job, last)
                if missed:
                    yield b"".join(missed)
            if not is_over:
                async for reached, ended, content in _follow(subscription, last, ends_at):
                    last, is_over = reached, ended
                    yield content
            yield END if is_over else KEEP_ALIVE
            if is_over:
                return


async def _follow(subscription: Subscription, last: int, ends_at: float) -> AsyncIterator[tuple[int, bool, bytes]]:
    """What the hub brings, until something is missing, nothing comes for a while, or the job has come to its end.

    Yields (last number, whether the job is over, encoded events). A job that ended is not asked for in the database:
    all its viewers would do that in the moment in which its results are fetched.
    """
    while time.monotonic() < ends_at:
        items = await subscription.take(KEEP_ALIVE_SECONDS)
        content = []
        is_final = is_over = False
        for item in items:
            if isinstance(item, Frame):
                if item.seq <= last:
                    continue
                if item.seq > last + 1:
                    return
                last, is_over, is_final = item.seq, item.is_final, is_final or item.is_final
            content.append(item.on_job if isinstance(item, Frame) else item)
        yield last, is_over, b"".join(content)
        if not items or subscription.lost or is_final:
            return


def _replay(job_id: UUID, last: int) -> tuple[int, bool, bool, list[bytes]]:
    """(last number, whether the job is over and all is said, whether there may be more, events after `last`)."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        return last, True, False, []
    if last > job.event_seq:
        last = 0  # the number of another life of this database
    rows = columns(Event.objects.filter(job=job, seq__gt=last)).order_by("seq")[:_BATCH]
    found = frames(rows, 0)
    content = [frame.on_job for frame in found]
    if len(found) == _BATCH:
        return found[-1].seq, False, True, content
    if not found:
        return last, job.state in JOB_FINAL and last >= job.event_seq, False, []
    # The job was read before its events, so what they say of its end is newer.
    last = found[-1].seq
    is_over = found[-1].is_final or (job.state in JOB_FINAL and last == job.event_seq)
    return last, is_over, False, [*content, progress_frame(progress(job, timezone.now()))]


async def farm_stream(owner: int | None, last: int | None, subject: str | None = None) -> AsyncIterator[bytes]:
    """Events that `owner` may see (all for None) after id `last`, or from now on; only those of `subject` if given."""
    ends_at = time.monotonic() + LIFE_SECONDS
    found = hub()
    yield RETRY
    async with found.listening() as subscription:
        sent = Sent(found.newest if last is None or last > found.newest else last)
        is_behind = last is not None
        while time.monotonic() < ends_at:
            if is_behind:
                subscription.lost = False
                async for content in _catch_up(owner, subject, sent, found.open_from):
                    yield content
            items = await subscription.take(KEEP_ALIVE_SECONDS)
            is_behind = subscription.lost
            mine = (item for item in items if isinstance(item, Frame) and _is_for(owner, subject, item))
            yield b"".join(frame.on_farm for frame in mine if sent.is_new(frame)) or KEEP_ALIVE


class Sent:
    """What a farm stream has sent: everything up to `last`, and the ids in `recent`."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.recent: set[int] = set()

    def is_new(self, frame: Frame) -> bool:
        """Whether the frame has not been sent; it counts as sent from now on."""
        if frame.id <= self.last or frame.id in self.recent:
            return False
        self.recent.add(frame.id)
        if frame.settled > self.last:
            self.last = frame.settled
            self.recent = {number for number in self.recent if number > self.last}
        return True


def _is_for(owner: int | None, subject: str | None, frame: Frame) -> bool:
    if subject is not None and frame.subject != subject:
        return False
    return owner is None or frame.owner == owner or frame.is_public


async def _catch_up(owner: int | None, subject: str | None, sent: Sent, open_from: float) -> AsyncIterator[bytes]:
    after: int | None = sent.last
    while after is not None:
        after, missed = await in_database(_missed, owner, subject, after, open_from)
        yield b"".join(frame.on_farm for frame in missed if sent.is_new(frame))


def _missed(owner: int | None, subject: str | None, after: int, open_from: float) -> tuple[int | None, list[Frame]]:
    """(where to read on, or None; the events after `after`)."""
    rows = Event.objects.filter(visible(owner), id__gt=after, **({"subject_id": subject} if subject else {}))
    found = frames(columns(rows)[:_BATCH], open_from)
    return (found[-1].id if len(found) == _BATCH else None), found
