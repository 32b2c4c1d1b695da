"""Composing: the finished ranges of a job become its picture and its arrays."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from rrm.domain.states import JobState, LeaseState
from rrm.domain.tiling import TileGrid
from rrm.errors import NotReady, StateConflict
from rrm.farm import jobs, ranges, wakeups
from rrm.farm.models import Job, Lease
from rrm.farm.transitions import advance
from rrm.results.compose import ComposePlan, compose
from rrm.results.shelf import CorruptRange, RangeFile

logger = logging.getLogger(__name__)


def compose_job(job_id: UUID) -> None:
    """Write the results of a COMPOSING job and complete it.

    Running it twice, even at once, writes the same files; one of them completes the job. A range whose file is lost or
    damaged is offered again. A full disk, or the like, fails the job, which may then be retried.
    """
    job = Job.objects.select_related("model").filter(pk=job_id, state=JobState.COMPOSING).first()
    if job is None:
        return
    done, kept = _done(job), jobs.files(job)
    plan = ComposePlan(grid_of(job), frozenset(job.outputs), ranges_of(job, done), metadata(job))
    alive = _SignOfLife(job)
    try:
        compose(kept, plan, progress=alive, threads=3)  # one of them mostly waits for the disk
    except CorruptRange as corrupt:
        _render_again(job, [lease for lease in done if kept.range(lease.pk) == corrupt.range_file.path], str(corrupt))
    except (NotReady, OSError) as error:
        logger.exception("Job %s could not be composed", job.pk)
        _fail(job, f"The results could not be written: {error}")
    else:
        _complete(job)


def _done(job: Job) -> list[Lease]:
    return list(job.leases.filter(state=LeaseState.DONE).order_by("start"))


def ranges_of(job: Job, done: list[Lease] | None = None) -> tuple[RangeFile, ...]:
    """The files of the finished ranges."""
    kept = jobs.files(job)
    return tuple(RangeFile(lease.start, lease.stop, kept.range(lease.pk)) for lease in done or _done(job))


def grid_of(job: Job) -> TileGrid:
    return TileGrid(job.width, job.height, job.tile_size)


class _SignOfLife:
    """Tells the repair loop, about once a second, that the job is being composed."""

    def __init__(self, job: Job) -> None:
        self._job = job.pk
        self._next = 0.0
        self(0, 0)

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            Job.objects.filter(pk=self._job).update(composed_at=timezone.now())


def metadata(job: Job) -> dict[str, Any]:
    """What a file of results says of how it was made."""
    return {
        "renderer": job.model.renderer,
        "params": job.model.params,
        "view": job.view,
        "width": job.width,
        "height": job.height,
        "coloring": job.coloring,
    }


def _complete(job: Job) -> None:
    with contextlib.suppress(StateConflict):
        advance(job, JobState.COMPLETED, finished_at=timezone.now())


def _fail(job: Job, reason: str) -> None:
    with contextlib.suppress(StateConflict):
        advance(job, JobState.FAILED, reason, finished_at=timezone.now())


def _render_again(job: Job, lost: list[Lease], problem: str) -> None:
    """Take the tiles of damaged ranges out of the count and offer them once more."""
    logger.error("Job %s: %s; its tiles are rendered again", job.pk, problem)
    with contextlib.suppress(StateConflict), transaction.atomic():
        tiles = sum(lease.stop - lease.start for lease in lost)
        advance(job, JobState.RUNNING, "A finished range was damaged", tiles_done=F("tiles_done") - tiles)
        for lease in Lease.objects.filter(pk__in=[lease.pk for lease in lost]).select_related("node", "share"):
            ranges.give_back(lease, problem)
        wakeups.wake("rrm.autoscale")
