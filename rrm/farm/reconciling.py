"""The repair loop: what any process may have left behind by dying is found and put right. Safe to run twice."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db.models import Q

from rrm.domain.states import JOB_FINAL, NODE_GONE, JobState
from rrm.farm import blaming, deliveries, instants, jobs, loops, ranges, surveying, wakeups
from rrm.farm.models import Event, IdempotencyKey, Job, Node, Preload
from rrm.results.layout import clear_drafts, discard

logger = logging.getLogger(__name__)

COMPOSE_AGAIN = timedelta(seconds=8)
_IDEMPOTENCY_KEPT = timedelta(days=7)
_STRAY = timedelta(hours=1)


def reconcile(now: datetime) -> None:
    """One turn: overdue leases, nodes that are gone or silent, stuck launches and stops, jobs that nobody finished.

    A step that fails keeps the others from nothing. Raises an ExceptionGroup of all failures in the end.
    """
    failures = []
    for step in _STEPS:
        loops.fence()
        try:
            step(now)
        except (loops.TurnLost, SoftTimeLimitExceeded):
            raise  # there is no time for the others
        except Exception as problem:
            logger.error("%s failed: %r", step.__name__, problem)
            failures.append(problem)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(_STEPS)} steps failed", failures)


def _finish_jobs(now: datetime) -> None:
    for job in Job.objects.filter(state__in=[JobState.QUEUED, JobState.RUNNING], tiles_done__gte=1):
        jobs.finish_if_done(job)
    silent = Q(composed_at=None) | Q(composed_at__lt=now - COMPOSE_AGAIN)
    for job in Job.objects.filter(silent, state=JobState.COMPOSING, state_since__lt=now - COMPOSE_AGAIN / 2):
        wakeups.wake("rrm.compose", str(job.pk))


def tidy(now: datetime) -> None:
    """Forget what is old: events of finished jobs, nodes that did nothing for a job still kept, orders, files, keys."""
    old = now - settings.RRM.event_retention
    Event.objects.filter(created_at__lt=old).exclude(job__state__in=set(JobState) - JOB_FINAL).delete()
    IdempotencyKey.objects.filter(created_at__lt=now - _IDEMPOTENCY_KEPT).delete()
    Node.objects.filter(state__in=NODE_GONE, finished_at__lt=old, leases=None).delete()
    Preload.objects.filter(until__lt=now).delete()
    _remove_strays(now)


def _remove_strays(now: datetime) -> None:
    """Drafts of processes that died, and folders of jobs whose deletion was cut short."""
    root = settings.RRM.data_dir / "jobs"
    if not root.is_dir():
        return
    clear_drafts(root, _STRAY)
    known = {str(job) for job in Job.objects.values_list("pk", flat=True)}
    for folder in root.iterdir():
        if folder.name not in known and now.timestamp() - folder.stat().st_mtime > _STRAY.total_seconds():
            discard(folder)


_STEPS = (
    *(instants.forget_the_future, deliveries.expire, surveying.survey_all),
    *(blaming.look_after, ranges.release_forgotten, _finish_jobs),
)
