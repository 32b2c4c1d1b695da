"""The repair loop: what any process may have left behind by dying is found and put right.

Only what a site confirms counts: a node that it does not answer for stays as it is. Everything here may run twice.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from rrm.domain.states import JOB_FINAL, NODE_CHECKED_IN, NODE_GONE, NODE_LIVE, NODE_STARTING, JobState, NodeState
from rrm.errors import LauncherError, StateConflict
from rrm.farm import deliveries, jobs, loops, nodes, ranges, wakeups
from rrm.farm.models import Event, IdempotencyKey, Job, Node, Site
from rrm.farm.transitions import advance
from rrm.launchers.base import Handle, Launcher, Liveness, Observation
from rrm.results.layout import clear_drafts, discard

logger = logging.getLogger(__name__)

LAUNCH_AGAIN = timedelta(seconds=20)
SILENT = timedelta(seconds=60)
COMPOSE_AGAIN = timedelta(seconds=8)
_RESUMED = timedelta(minutes=1)
_IDEMPOTENCY_KEPT = timedelta(days=7)
_STRAY = timedelta(hours=1)


def reconcile(now: datetime) -> None:
    """One turn: overdue leases, nodes that are gone or silent, stuck launches and stops, jobs that nobody finished."""
    deliveries.expire(now)
    for site in Site.objects.all():
        _reconcile_site(site, now)
    _finish_jobs(now)


def _reconcile_site(site: Site, now: datetime) -> None:
    live = list(Node.objects.filter(site=site, state__in=NODE_LIVE).select_related("site", "resource"))
    try:
        launcher = nodes.launcher_for(site)
    except LauncherError as error:
        logger.debug("Site %s is not asked: %s", site.pk, error)
        return
    found = launcher.survey([node.handle for node in live if node.handle])
    if found.problem:
        logger.debug("Site %s does not answer: %s", site.pk, found.problem)
        return
    resumed = _has_just_resumed(now)
    unseen = Observation(Liveness.UNKNOWN)
    for node in live:
        _reconcile_node(node, found.nodes.get(node.name, unseen).liveness, now, resumed=resumed)
    _end_strays(site, launcher, found.strays)


def _end_strays(site: Site, launcher: Launcher, strays: Mapping[str, Handle]) -> None:
    # Read again: a node that was requested since must not be taken for a stray. Nor one of another site: two sites
    # may share a machine or an account, and each finds the nodes of both.
    known = set(Node.objects.filter(name__in=strays, state__in=NODE_LIVE).values_list("name", flat=True))
    for name in strays.keys() - known:
        logger.warning("Node %s runs at %s and nobody wants it: it is ended", name, site.pk)
        with contextlib.suppress(LauncherError):
            launcher.stop(strays[name], nodes.STOP_GRACE)


def _has_just_resumed(now: datetime) -> bool:
    """Whether the manager was away: its nodes could not report, which says nothing about them."""
    last = loops.last_finished("reconcile")
    return last is None or now - last > _RESUMED


def _reconcile_node(node: Node, seen: Liveness, now: datetime, *, resumed: bool) -> None:
    age = now - node.state_since
    if node.state == NodeState.REQUESTED:
        if age > LAUNCH_AGAIN:
            wakeups.wake("rrm.launch_node", str(node.pk))
    elif node.state == NodeState.STOPPING:
        if seen is Liveness.GONE or age > nodes.STOP_GRACE:
            wakeups.wake("rrm.end_node", str(node.pk))
    elif seen is Liveness.GONE:
        _lost(node)
    elif node.state in NODE_STARTING and age > settings.RRM.node_start_timeout:
        nodes.launch_failed(node, f"Did not check in within {settings.RRM.node_start_timeout.total_seconds():.0f} s")
    elif node.state in NODE_CHECKED_IN and node.last_heartbeat and not resumed and now - node.last_heartbeat > SILENT:
        _silent(node, now)


def _lost(node: Node) -> None:
    """The site confirms that the process is gone, though nobody ended it."""
    if node.state in NODE_STARTING:
        nodes.launch_failed(node, f"Ended before it checked in. {_last_words(node)}")
    elif node.state == NodeState.DRAINING:
        nodes.gone(node, NodeState.STOPPED, node.reason)
    else:
        nodes.gone(node, NodeState.FAILED, f"Its process ended unexpectedly. {_last_words(node)}")
        wakeups.wake("rrm.autoscale")


def _last_words(node: Node) -> str:
    with contextlib.suppress(LauncherError, OSError):
        lines = nodes.log(node, "err", 1).strip().splitlines()
        if lines:
            return f"Its last line: {lines[-1][:300]}"
    return ""


def _silent(node: Node, now: datetime) -> None:
    silence = (now - (node.last_heartbeat or now)).total_seconds()
    with contextlib.suppress(StateConflict):
        nodes.stop(node, "reconcile", f"Silent for {silence:.0f} s though its process runs")


def _finish_jobs(now: datetime) -> None:
    for job in Job.objects.filter(state__in=[JobState.QUEUED, JobState.RUNNING], tiles_done__gte=1):
        jobs.finish_if_done(job)
    silent = Q(composed_at=None) | Q(composed_at__lt=now - COMPOSE_AGAIN)
    for job in Job.objects.filter(silent, state=JobState.COMPOSING, state_since__lt=now - COMPOSE_AGAIN / 2):
        wakeups.wake("rrm.compose", str(job.pk))
    for job in Job.objects.filter(deadline__lt=now).exclude(state__in=JOB_FINAL):
        with contextlib.suppress(StateConflict), transaction.atomic():
            advance(job, JobState.FAILED, "Its deadline has passed", finished_at=now)
            ranges.take_back(job, "the deadline of the job has passed")


def tidy(now: datetime) -> None:
    """Forget what is old: events of finished jobs, nodes that did nothing for a job still kept, stray files, keys."""
    old = now - settings.RRM.event_retention
    Event.objects.filter(created_at__lt=old).exclude(job__state__in=set(JobState) - JOB_FINAL).delete()
    IdempotencyKey.objects.filter(created_at__lt=now - _IDEMPOTENCY_KEPT).delete()
    Node.objects.filter(state__in=NODE_GONE, finished_at__lt=old, leases=None).delete()
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
