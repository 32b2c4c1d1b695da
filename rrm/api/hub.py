"""New events for everybody who listens: one reader in each process, whatever the number of streams.

Event ids are given when a transaction begins to write and seen when it commits, so a lower id may appear after a higher
one. The hub remembers the ids it has not seen below the highest, and looks for them for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import Error as DatabaseError
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from rrm.api.frames import Frame, columns, frames, progress_frame
from rrm.api.threads import in_database
from rrm.farm.jobs import progress
from rrm.farm.models import Event, Job
from rrm.farm.wakeups import EVENTS

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 500
_BATCH = 1000
_LOOK_SECONDS = 1.0
_BREATH_SECONDS = 0.04  # events that come close together are read together
_PROGRESS_SECONDS = 0.5
_GAP_SECONDS = 10.0
_MOST_GAPS = 500


class Subscription:
    """What one listener has yet to send. One that cannot keep up loses its queue, and reads the database again."""

    def __init__(self) -> None:
        self.lost = False
        self._queue: deque[Frame | bytes] = deque()
        self._something = asyncio.Event()

    def put(self, items: Collection[Frame | bytes]) -> None:
        if len(self._queue) + len(items) > QUEUE_LIMIT:
            self.lost = True
            self._queue.clear()
        elif not self.lost:
            self._queue.extend(items)
        self._something.set()

    async def take(self, timeout: float) -> list[Frame | bytes]:
        """Everything that has come, as soon as there is something; nothing when the time is over or all was lost."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._something.wait(), timeout)
        self._something.clear()
        items = list(self._queue)
        self._queue.clear()
        return items


class Hub:
    """Reads new events while somebody listens, and hands them out. Belongs to one event loop."""

    def __init__(self) -> None:
        self._farm: set[Subscription] = set()
        self._jobs: dict[UUID, set[Subscription]] = {}
        self._high = 0
        self._gaps: dict[int, float] = {}  # event id → when to stop looking for it
        self._unreported: dict[UUID, float] = {}  # job → when its progress may be told
        self._reported: dict[UUID, float] = {}
        self._is_ready = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        return len(self._farm) + sum(map(len, self._jobs.values()))

    @property
    def newest(self) -> int:
        """The highest event id that was handed out."""
        return self._high

    @property
    def open_from(self) -> float:
        """The lowest event id that may still appear although higher ones were handed out."""
        return min(self._gaps, default=math.inf)

    @contextlib.asynccontextmanager
    async def listening(self, job: UUID | None = None) -> AsyncIterator[Subscription]:
        """A subscription to one job, or to everything; what commits after this has begun is not missed."""
        subscription = Subscription()
        listeners = self._farm if job is None else self._jobs.setdefault(job, set())
        listeners.add(subscription)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._run())
        try:
            await self._is_ready.wait()
            yield subscription
        finally:
            listeners.discard(subscription)
            self._leave(job)

    def _leave(self, job: UUID | None) -> None:
        if job is not None and not self._jobs.get(job):
            self._jobs.pop(job, None)
            self._unreported.pop(job, None)
            self._reported.pop(job, None)
        if not self.listeners and self._reader is not None:
            self._reader.cancel()
            self._reader = None
            self._is_ready.clear()

    async def _run(self) -> None:
        async with EVENTS.listen() as bell:
            while True:
                try:
                    if not self._is_ready.is_set():
                        await self._begin()
                    more = await self._pump()
                except DatabaseError as error:
                    logger.warning("Cannot read events: %s", error)
                    more = False
                except Exception:  # one event that cannot be told must not end all streams
                    logger.exception("Cannot hand out events")
                    more = False
                if not more:
                    await bell.wait(_PROGRESS_SECONDS if self._unreported else _LOOK_SECONDS)
                    await asyncio.sleep(_BREATH_SECONDS)

    async def _begin(self) -> None:
        self._high, missing = await in_database(_newest)
        self._note_gaps(missing)
        self._is_ready.set()

    async def _pump(self) -> bool:
        """Read and hand out one batch; whether there may be more."""
        rows = await in_database(_read, self._high, list(self._gaps))
        seen = {row["id"] for row in rows}
        highest = max(seen, default=self._high)
        for number in seen & self._gaps.keys():
            del self._gaps[number]
        # In an empty table nothing is known of the ids before the first.
        low = self._high or min(seen, default=0)
        if highest - low < _MOST_GAPS + _BATCH:
            self._note_gaps(set(range(low + 1, highest)) - seen)
        self._high = max(self._high, highest)
        await self._hand_out(frames(rows, self.open_from))
        return len(rows) >= _BATCH

    def _note_gaps(self, missing: Iterable[int]) -> None:
        now = time.monotonic()
        self._gaps = {number: until for number, until in self._gaps.items() if until > now}
        for number in itertools.islice(sorted(missing, reverse=True), max(0, _MOST_GAPS - len(self._gaps))):
            self._gaps[number] = now + _GAP_SECONDS

    async def _hand_out(self, batch: list[Frame]) -> None:
        by_job: dict[UUID, list[Frame | bytes]] = {}
        for frame in batch:
            if frame.job in self._jobs:
                by_job.setdefault(frame.job, []).append(frame)
                self._note_progress(frame.job, is_urgent=frame.is_final)
        for job, told in (await self._due_progress()).items():
            by_job.setdefault(job, []).append(told)
        for job, items in by_job.items():
            for subscription in self._jobs.get(job, ()):
                subscription.put(items)
        if batch:
            for subscription in self._farm:
                subscription.put(batch)

    def _note_progress(self, job: UUID, *, is_urgent: bool) -> None:
        """The job's progress is to be told: at once at its end, else half a second after it was told last."""
        earliest = 0.0 if is_urgent else self._reported.get(job, 0.0) + _PROGRESS_SECONDS
        self._unreported[job] = min(self._unreported.get(job, earliest), earliest)

    async def _due_progress(self) -> dict[UUID, bytes]:
        now = time.monotonic()
        due = [job for job, when in self._unreported.items() if when <= now]
        for job in due:
            del self._unreported[job]
            self._reported[job] = now
        return await in_database(_progress, due) if due else {}


def _newest() -> tuple[int, set[int]]:
    """The highest event id, and the ids below it that are not there and were given a moment ago."""
    since = timezone.now() - timedelta(seconds=_GAP_SECONDS)
    recent = Event.objects.filter(created_at__gt=since).order_by("-id").values_list("id", flat=True)[:_MOST_GAPS]
    known = set(recent)
    high = max(known, default=0) or _highest(Event.objects.all())
    before = _highest(Event.objects.filter(id__lt=min(known))) if known else high
    low = max(before, high - _MOST_GAPS) if before else min(known, default=high)
    return high, set(range(low + 1, high)) - known


def _highest(events: QuerySet[Event]) -> int:
    return events.aggregate(high=Max("id"))["high"] or 0


def _read(high: int, gaps: Collection[int]) -> list[dict[str, Any]]:
    wanted = Q(id__gt=high) | Q(id__in=gaps) if gaps else Q(id__gt=high)
    return list(columns(Event.objects.filter(wanted))[:_BATCH])


def _progress(jobs: Collection[UUID]) -> dict[UUID, bytes]:
    now = timezone.now()
    return {job.pk: progress_frame(progress(job, now)) for job in Job.objects.filter(pk__in=jobs)}


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]


def listeners() -> int:
    """The event streams that are open in this process."""
    return sum(found.listeners for found in list(_hubs.values()))
