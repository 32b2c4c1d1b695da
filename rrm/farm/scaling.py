"""The autoscaler: facts from the database in, `domain.autoscaling`'s plan carried out."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F, Q, Sum
from django.utils import timezone

from rrm.domain import autoscaling, tiling
from rrm.domain.autoscaling import Phase
from rrm.domain.states import JOB_OFFERED, NODE_LIVE, NODE_STARTING, SESSION_OPEN, LeaseState, NodeState
from rrm.errors import StateConflict
from rrm.farm import estimates, loops, nodes, quarantine
from rrm.farm.models import Job, JobShare, Lease, Node, Resource, Session
from rrm.farm.transitions import iso, record

logger = logging.getLogger(__name__)

_FOR_EVER = timedelta(days=36500)
_PHASES = {
    NodeState.REQUESTED: Phase.STARTING,
    NodeState.SUBMITTED: Phase.STARTING,
    NodeState.IDLE: Phase.IDLE,
    NodeState.BUSY: Phase.BUSY,
    NodeState.BOOKED: Phase.BUSY,
    NodeState.DRAINING: Phase.LEAVING,
    NodeState.STOPPING: Phase.LEAVING,
}


def autoscale(now: datetime) -> None:
    """Bring every resource nearer to the number of nodes that its work wants. Safe to run at any time, and twice."""
    for resource in Resource.objects.prefetch_related("placements__site"):
        _scale(resource, now)


def plan(resource: Resource, now: datetime) -> autoscaling.Plan:
    """What the autoscaler would do for `resource` now."""
    # What a site out of reach was asked for may never come: others may be asked for it meanwhile.
    unsure = Q(state__in=NODE_STARTING) & ~Q(site__problem="")
    # What was started for one session comes and goes with it.
    shared = Node.objects.filter(resource=resource, state__in=NODE_LIVE, reserved_for=None)
    live = list(shared.exclude(unsure).prefetch_related("held__model"))
    history = autoscaling.History(
        tuple((float(at), int(want)) for at, want in resource.demand_history),
        resource.up_since,
        resource.launch_failures,
        resource.retry_at,
    )
    return autoscaling.plan(_demand(resource), _supply(live), _limits(resource), history, now)


def _scale(resource: Resource, now: datetime) -> None:
    decided = plan(resource, now)
    loops.fence()
    known = resource.last_plan
    Resource.objects.filter(pk=resource.pk).update(
        demand_history=[list(entry) for entry in decided.history.wanted],
        up_since=decided.history.up_since,
        last_plan={
            "want": decided.want,
            "have": decided.have,
            "launch": len(decided.launch),
            "drain": len(decided.drain),
            "reason": decided.reason,
            "at": iso(now),
        },
    )
    if (decided.launch or decided.drain) and known.get("reason") != decided.reason:
        record(resource, "log", {"level": "info", "message": f"{resource.pk}: {decided.reason}"})
    _carry_out(resource, decided)


def _carry_out(resource: Resource, decided: autoscaling.Plan) -> None:
    sites = {placement.site_id: placement.site for placement in resource.placements.all()}
    ahead = 0
    for site in decided.launch:
        if ahead:  # a batch job of several machines was asked for
            ahead -= 1
            continue
        try:
            nodes.request_node(resource, sites[site], "autoscaler", decided.reason)
            ahead = nodes.machines_of(resource, sites[site]) - 1
        except StateConflict as conflict:
            logger.info("No node started for %s: %s", resource.pk, conflict)
    for node in Node.objects.filter(pk__in=decided.drain, state__in=[NodeState.IDLE, *NODE_STARTING]):
        with contextlib.suppress(StateConflict):  # it got work since the plan was made
            nodes.drain(node, "autoscaler", decided.reason)


def _demand(resource: Resource) -> autoscaling.Demand:
    offered = {
        job.pk: job
        for job in Job.objects.filter(resource=resource, state__in=JOB_OFFERED)
        .exclude(quarantine.in_force(timezone.now(), "model__"))
        .select_related("model")
    }
    costs = estimates.of({job.model_id: job.model.renderer for job in offered.values()})
    work = []
    for (job_id, site), tiles in _tiles_waiting(offered.keys()).items():
        job = offered[job_id]
        samples = tiling.samples(job.tile_size**2, job.supersample, adaptive=job.adaptive)
        seconds = tiles * samples * costs.pixel_seconds(job.model_id)
        work.append(
            autoscaling.Work(
                seconds=seconds + costs.load_seconds(job.model_id),
                ranges=tiles,
                sites=frozenset([site] if site else job.site_ids) or None,
            )
        )
    opened = Session.objects.filter(resource=resource, state__in=SESSION_OPEN, opened_at__isnull=False, overrides={})
    sessions = opened.exclude(node__reserved_for__isnull=False).count()  # those have what they need
    models = frozenset(str(job.model_id) for job in offered.values())
    return autoscaling.Demand(tuple(work), sessions, models)


def _tiles_waiting(offered: Collection[UUID]) -> Mapping[tuple[UUID, str | None], int]:
    """Tiles of each job that are not done, given out or not, by the site whose share they are (None: any)."""
    waiting: Counter[tuple[UUID, str | None]] = Counter()
    shares = JobShare.objects.filter(job__in=offered, cursor__lt=F("stop")).order_by().values_list("job", "site")
    for job, site, tiles in shares.annotate(tiles=Sum(F("stop") - F("cursor"))):
        waiting[job, site] += tiles
    active = Lease.objects.filter(job__in=offered, state=LeaseState.ACTIVE).order_by().values_list("job", "share__site")
    for job, site, tiles in active.annotate(tiles=Sum(F("stop") - F("start"))):
        waiting[job, site] += tiles
    return waiting


def _supply(live: Sequence[Node]) -> list[autoscaling.SupplyNode]:
    return [
        autoscaling.SupplyNode(
            id=str(node.pk),
            site=node.site_id,
            phase=_PHASES[NodeState(node.state)],
            idle_since=node.idle_since,
            models=frozenset(str(held.model_id) for held in node.held.all()),
            pinned=any(held.model.pinned for held in node.held.all()),
        )
        for node in live
    ]


def _limits(resource: Resource) -> autoscaling.Limits:
    placements = [
        placement for placement in resource.placements.all() if placement.site.enabled and not placement.site.problem
    ]
    taken = dict(
        Node.objects.filter(site__in=[placement.site_id for placement in placements], state__in=NODE_LIVE)
        .order_by()
        .values_list("site")
        .annotate(nodes=Count("id"))
    )
    return autoscaling.Limits(
        min_nodes=resource.min_nodes,
        max_nodes=resource.max_nodes,
        sites=tuple(
            autoscaling.SiteRoom(place.site_id, max(0, place.site.max_nodes - taken.get(place.site_id, 0)))
            for place in placements
        ),
        standby=resource.standby,
        enabled=resource.enabled,
        idle_timeout=_idle_timeout(resource),
        start_time=None if resource.start_seconds is None else timedelta(seconds=resource.start_seconds),
        drain_time=settings.RRM.drain_target,
        period=settings.RRM.autoscale_period,
    )


def _idle_timeout(resource: Resource) -> timedelta | None:
    """None lets the plan choose. Whether an external renderer is in use is not known: it stays unless that is set."""
    if resource.idle_timeout is not None:
        return timedelta(seconds=resource.idle_timeout)
    return _FOR_EVER if resource.renderer == Resource.Renderer.EXTERNAL else None
