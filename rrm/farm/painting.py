"""Painting: pictures that the manager makes from values, where nodes cannot or need not.

They are kept as one bundle for each row of tiles, in the form in which nodes send whole rows: what composes, zooms and
serves pictures takes them from there.
"""

from __future__ import annotations

from rrm.domain.states import LeaseState
from rrm.errors import NotReady
from rrm.farm import jobs
from rrm.farm.models import Job
from rrm.results.compose import Progress
from rrm.results.repaint import Repaint, painted_ranges, repaint
from rrm.results.shelf import RangeFile


def paint(job: Job, progress: Progress) -> None:
    """Paint the whole picture. Running it twice, even at once, writes the same files.

    NotReady if the job that keeps the values is gone, CorruptRange if one of its ranges is lost or damaged.
    """
    source = job.source if job.kind == Job.Kind.RECOLOR else job
    if source is None:
        raise NotReady("the job whose values are to be shown was deleted")
    plan = Repaint(job.grid, values_of(source), frozenset(source.rendered), job.palette, _limit(job))
    repaint(jobs.files(job), plan, progress=progress)


def pictures_of(job: Job) -> tuple[RangeFile, ...]:
    """The files that hold the job's full-size pictures, of all tiles that there are."""
    return painted_ranges(jobs.files(job), job.grid) if job.is_painted_here else values_of(job)


def values_of(job: Job) -> tuple[RangeFile, ...]:
    """The files that nodes sent."""
    kept = jobs.files(job)
    done = job.leases.filter(state=LeaseState.DONE).order_by("start")
    return tuple(RangeFile(lease.start, lease.stop, kept.range(lease.pk)) for lease in done)


def _limit(job: Job) -> int:
    return int(job.model.params["max_iter"])
