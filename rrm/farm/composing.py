"""Composing: the finished ranges of a job become its picture and its arrays."""

from __future__ import annotations

import contextlib
import logging
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from rrm.domain.states import JobState, LeaseState
from rrm.errors import NotReady, StateConflict
from rrm.farm import jobs, painting, ranges, standstill, wakeups
from rrm.farm.models import Job, Lease
from rrm.farm.transitions import advance
from rrm.results.compose import ComposePlan, compose
from rrm.results.shelf import CorruptRange

logger = logging.getLogger(__name__)


def compose_job(job_id: UUID) -> None:
    """Write the results of a COMPOSING job and complete it.

    Running it twice, even at once, writes the same files; one of them completes the job. A range whose file is lost or
    damaged is offered again. A full disk, or the like, fails the job, which may then be retried. Where nothing moves
    for long the process ends (`standstill`).
    """
    job = Job.objects.select_related("model", "source").filter(pk=job_id, state=JobState.COMPOSING).first()
    if job is None:
        return
    try:
        with standstill.Watch(job) as watch:
            if job.is_painted_here:
                painting.paint(job, watch)
            compose(jobs.files(job), _plan(job), progress=watch, threads=3)  # one of them mostly waits for the disk
    except CorruptRange as corrupt:
        _replace(job, corrupt)
    except (NotReady, OSError) as error:
        logger.exception("Job %s could not be composed", job.pk)
        _fail(job, f"The results could not be written: {error}")
    else:
        _complete(job)


def _plan(job: Job) -> ComposePlan:
    pictures = painting.pictures_of(job) if job.is_painted_here else None
    outputs, values = frozenset(job.outputs), painting.values_of(job)
    return ComposePlan(job.grid, outputs, values, metadata(job), pictures)


def metadata(job: Job) -> dict[str, Any]:
    """What a file of results says of how it was made."""
    return {
        "renderer": job.model.renderer,
        "params": job.model.params,
        "view": job.view,
        "width": job.width,
        "height": job.height,
        "supersample": job.supersample,
        "adaptive": job.adaptive,
        "coloring": job.coloring,
    }


def _complete(job: Job) -> None:
    with contextlib.suppress(StateConflict):
        advance(job, JobState.COMPLETED, finished_at=timezone.now())


def _fail(job: Job, reason: str) -> None:
    with contextlib.suppress(StateConflict):
        advance(job, JobState.FAILED, reason, finished_at=timezone.now())


def _replace(job: Job, corrupt: CorruptRange) -> None:
    """Render again what a damaged range held; where it is another job's range, this one fails."""
    done, kept = job.leases.filter(state=LeaseState.DONE), jobs.files(job)
    lost = [lease for lease in done if kept.range(lease.pk) == corrupt.range_file.path]
    if lost:
        _render_again(job, lost, str(corrupt))
    else:
        _fail(job, f"The values to be shown are lost or damaged: {corrupt}")


def _render_again(job: Job, lost: list[Lease], problem: str) -> None:
    """Take the tiles of damaged ranges out of the count and offer them once more."""
    logger.error("Job %s: %s; its tiles are rendered again", job.pk, problem)
    with contextlib.suppress(StateConflict), transaction.atomic():
        tiles = sum(lease.stop - lease.start for lease in lost)
        advance(job, JobState.RUNNING, "A finished range was damaged", tiles_done=F("tiles_done") - tiles)
        for lease in Lease.objects.filter(pk__in=[lease.pk for lease in lost]).select_related("node", "share"):
            ranges.give_back(lease, problem)
        wakeups.wake("rrm.autoscale")
