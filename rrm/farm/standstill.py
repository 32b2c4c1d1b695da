"""Standstill: a process whose composing no longer moves, as when a disk stalls, ends itself, and another begins anew.

A thread that waits for a disk cannot be interrupted, so the process goes as a whole; results take their names at the
end, so nothing is half-done. Until then it says that it lives, or more and more processes would be caught by one job.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from types import TracebackType

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from rrm.domain.states import JobState
from rrm.farm import jobs
from rrm.farm.models import Job
from rrm.farm.transitions import advance, record
from rrm.results.layout import abandon_drafts

logger = logging.getLogger(__name__)

MOST_STANDSTILLS = 3
_TELL_SECONDS = 1.0
_LAST_WORDS_SECONDS = 5.0  # what has to be written may be on the disk that stalls


class Watch:
    """Called at each step of composing `job`; tells the repair loop, about once a second, that it is at work."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._moved = time.monotonic()
        self._told = 0.0
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        self(0, 0)
        threading.Thread(target=self._look_after, name="rrm-standstill", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()

    def __call__(self, done: int, total: int) -> None:
        self._moved = time.monotonic()
        if self._moved >= self._told + _TELL_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        Job.objects.filter(pk=self._job.pk).update(composed_at=timezone.now())

    def _look_after(self) -> None:
        """On a thread of its own, which touches the database only while there is no step."""
        longest = settings.RRM.compose_standstill.total_seconds()
        while not self._over.wait(_TELL_SECONDS):
            still = time.monotonic() - self._moved
            if still > longest:
                _end(self._job, still)
            elif still > 2 * _TELL_SECONDS:
                with contextlib.suppress(DatabaseError):
                    self._tell()
        connection.close()


def _end(job: Job, seconds: float) -> None:
    """End this process, with a word to the job's owner and without drafts if that can be had in time."""
    logger.error("Job %s: composing has stood still for %.0f s; this process ends", job.pk, seconds)
    threading.Timer(_LAST_WORDS_SECONDS, _kill).start()
    try:
        _note(job, seconds)
        abandon_drafts(jobs.files(job).folder)
    finally:
        _kill()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _note(job: Job, seconds: float) -> None:
    """Tell it in the job's log; when it happens again and again the job fails, and may be retried."""
    with transaction.atomic():
        found = Job.objects.select_for_update(no_key=True).filter(pk=job.pk, state=JobState.COMPOSING).first()
        if found is None:
            return
        message = f"Composing stood still for {seconds:.0f} s, and is begun anew"
        record(found, "log", {"level": "warning", "message": message, "standstill": True})
        times = found.events.filter(kind="log", data__standstill=True, created_at__gte=found.state_since).count()
        if times >= MOST_STANDSTILLS:
            reason = f"The results could not be written: composing stood still {times} times"
            advance(found, JobState.FAILED, reason, finished_at=timezone.now())
