"""Leases: giving ranges of tiles to nodes that ask.

A node asks, `domain.scheduling` picks a job, and one compare-and-swap on a share's cursor makes the range that node's
until the deadline.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Sum, When
from django.utils import timezone

from rrm.domain import coloring, scheduling, tiling
from rrm.domain.orders import PRIORITIES
from rrm.domain.states import JOB_OFFERED, NODE_WORKING, JobState, LeaseState, NodeState
from rrm.errors import StateConflict
from rrm.farm import booking, reports
from rrm.farm.models import HeldModel, Job, JobShare, Lease, Node
from rrm.farm.transitions import advance

logger = logging.getLogger(__name__)

_LEASES_PER_AGE = 5  # a lease grows to this part of the time that its job has taken
_LONGEST_TARGET = 5  # times RRM_LEASE_SECONDS
AHEAD = 3  # leases a node may hold: the one it uploads, the one it renders, and the next
_CANDIDATES = 200
_LATELY = timedelta(minutes=10)
_BYTES_PER_PIXEL = 12  # of a bundle at most: RGB, counts and smooth values that do not compress, and a preview
_TRIES = 5


def next_lease(node: Node, report: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What a node that asks for work should do: {"command", "lease", "retry_after"}. `node` is as it was just read.

    A lease whose answer was lost on the way is handed out again. None as lease means that there is nothing to do.
    """
    held = reports.active_leases(node)
    command = reports.alive(node, report, held, now)["command"]
    if command != "run":
        return {"command": command, "lease": None, "retry_after": 0, "session": None}
    if lost := held.keys() - set(report.get("leases", ())):
        lease = Lease.objects.select_related("job__model").filter(pk=min(lost), state=LeaseState.ACTIVE).first()
    elif booking.serve(node, now):
        return {"command": command, "lease": None, "retry_after": 1, "session": booking.session_of(node)}
    else:
        lease = _claim(node, now) if len(held) < AHEAD else None
    offer = _offer(lease) if lease else None
    return {"command": command, "lease": offer, "retry_after": 0 if lease else 1, "session": None}


@dataclass(frozen=True)
class _Facts:
    """What one decision is made on: the open shares, and the nodes that could take them."""

    shares: Sequence[JobShare]
    working: Sequence[Node]
    models: Mapping[UUID, Mapping[str, HeldModel]]  # node → model → what it holds


def _claim(node: Node, now: datetime) -> Lease | None:
    """A new lease for `node`, or None when nothing is worth giving. Rivals make it choose again, a few times."""
    for _ in range(_TRIES):
        facts = _facts(node, now)
        if not facts.shares:
            return None
        choice = scheduling.choose(
            _node_facts(node, facts),
            _job_facts(facts),
            scheduling.Holders.of(_rivals(node, facts)),
            now,
            served=_served(facts, now),
        )
        if choice is None:
            return None
        share = next(share for share in facts.shares if str(share.job_id) == choice.job_id)
        with contextlib.suppress(StateConflict):
            return _take(node, share, choice, facts, now)
    return None


def _facts(node: Node, now: datetime) -> _Facts:
    working = list(Node.objects.filter(resource=node.resource_id, state__in=NODE_WORKING))
    models: dict[UUID, dict[str, HeldModel]] = {}
    for held in HeldModel.objects.filter(node__in=working):
        models.setdefault(held.node_id, {})[str(held.model_id)] = held
    mine = models.get(node.pk, {})
    shares = [share for share in _open_shares(node) if _fits(share, node, working) and _in_time(share, node, mine, now)]
    return _Facts(shares, working, models)


def _open_shares(node: Node) -> QuerySet[JobShare]:
    """The most urgent and oldest tiles that the node's site may take; what it may not take never crowds them out."""
    rank = Case(*(When(job__priority=name, then=rank) for rank, name in enumerate(PRIORITIES)), default=0)
    return (
        JobShare.objects.filter(
            Q(site=None) | Q(site=node.site_id),
            Q(job__site_index="") | Q(job__site_index__contains=f"|{node.site_id}|"),
            job__state__in=JOB_OFFERED,
            job__resource=node.resource_id,
            cursor__lt=F("stop"),
        )
        .select_related("job", "job__model")
        .order_by(rank.desc(), "job__created_at", "start", "id")[:_CANDIDATES]
    )


def _fits(share: JobShare, node: Node, working: Sequence[Node]) -> bool:
    """A node that failed on tiles leaves them to one that has not, as long as there is one."""
    if node.name not in share.failed_on:
        return True
    sites = [share.site_id] if share.site_id else share.job.site_ids
    able = (other for other in working if not sites or other.site_id in sites)
    return all(other.name in share.failed_on for other in able)


def _in_time(share: JobShare, node: Node, held: Mapping[str, HeldModel], now: datetime) -> bool:
    """Whether the node will live until it has done what it would be given, and what it holds already."""
    if node.ends_at is None:
        return True
    load = 0.0 if str(share.job.model_id) in held else share.job.model.load_seconds or 0.0
    work = timedelta(seconds=load) + AHEAD * settings.RRM.lease_target
    return scheduling.is_done_before(node.ends_at, work, now)


def _node_facts(node: Node, facts: _Facts) -> scheduling.NodeFacts:
    return scheduling.NodeFacts(
        id=str(node.pk),
        resource=node.resource_id,
        site=node.site_id,
        held=frozenset(facts.models.get(node.pk, {})),
        streak=node.streak,
    )


def _rivals(node: Node, facts: _Facts) -> Iterable[scheduling.NodeFacts]:
    busy = settings.RRM.lease_target.total_seconds()
    for other in facts.working:
        if other.pk != node.pk:
            yield scheduling.NodeFacts(
                id=str(other.pk),
                resource=other.resource_id,
                site=other.site_id,
                held=frozenset(facts.models.get(other.pk, {})),
                busy_seconds=busy if other.state != NodeState.IDLE else 0.0,
            )


def _job_facts(facts: _Facts) -> list[scheduling.JobFacts]:
    open_shares: dict[UUID, list[JobShare]] = {}
    for share in facts.shares:
        open_shares.setdefault(share.job_id, []).append(share)
    return [_one_job(shares, facts) for shares in open_shares.values()]


def _served(facts: _Facts, now: datetime) -> Mapping[str, float]:
    """Node-seconds that each owner got lately; asked for only when owners compete."""
    owners = {share.job.owner_id for share in facts.shares}
    if len(owners) < 2:
        return {}
    done = Lease.objects.filter(job__owner__in=owners, state=LeaseState.DONE, finished_at__gt=now - _LATELY).order_by()
    served = done.values_list("job__owner").annotate(seconds=Sum(F("render_ms") / F("node__cores") / 1000.0))
    return {str(owner): seconds for owner, seconds in served}


def _one_job(shares: Sequence[JobShare], facts: _Facts) -> scheduling.JobFacts:
    job = shares[0].job
    tiles = sum(share.stop - share.cursor for share in shares)
    pixel_seconds = _known_speed(str(job.model_id), facts)
    return scheduling.JobFacts(
        id=str(job.pk),
        resource=job.resource_id,
        model=str(job.model_id),
        owner=str(job.owner_id),
        priority=job.priority,
        created_at=job.created_at,
        remaining_seconds=tiles
        * tiling.samples(job.tile_size**2, job.supersample, adaptive=job.adaptive)
        * pixel_seconds,
        load_seconds=job.model.load_seconds or 0.0,
    )


def _known_speed(model: str, facts: _Facts) -> float:
    measured = [held[model].pixel_seconds for held in facts.models.values() if model in held]
    known = [seconds for seconds in measured if seconds]
    return sum(known) / len(known) if known else 1e-7


def _take(node: Node, share: JobShare, choice: scheduling.Choice, facts: _Facts, now: datetime) -> Lease:
    """Claim the front of `share` for `node`, or raise StateConflict when a rival was faster."""
    job, start = share.job, share.cursor
    held = facts.models.get(node.pk, {}).get(choice.model)
    size = tiling.range_size(
        remaining=share.stop - start,
        nodes=sum(share.site_id in (None, other.site_id) for other in facts.working),
        cores=node.cores,
        tile_pixels=tiling.samples(job.tile_size**2, job.supersample, adaptive=job.adaptive),
        # The first range of a job is small, whatever is known: somebody waits for the first tile.
        pixel_seconds=held.pixel_seconds if held and job.started_at else None,
        target_seconds=_target_seconds(job, now),
    )
    by_bytes = max(1, settings.RRM.max_body_bytes // (_BYTES_PER_PIXEL * job.tile_size**2))
    most = min(by_bytes, share.at_most or by_bytes, share.stop - start)
    cols = job.tile_cols if job.preview_scale > 1 else 1  # where rows are sent as strips
    stop = tiling.end_of_range(start, min(size, most), most, cols)
    with transaction.atomic():
        # Job, share, lease, node: rows are locked in this order everywhere, so that no two transactions can wait for
        # each other.
        _begin_job(job, choice, now)
        if not JobShare.objects.filter(pk=share.pk, cursor=start).update(cursor=stop):
            raise StateConflict("Another node was faster.")
        _begin_node(node, job, choice, now)
        return Lease.objects.create(
            job=job,
            share=share,
            node=node,
            start=start,
            stop=stop,
            decision=choice.reason,
            warm=choice.warm,
            created_at=now,
            deadline=now + settings.RRM.lease_minimum,
        )


def _target_seconds(job: Job, now: datetime) -> float:
    """How much work a lease of `job` should be: more as it goes on, since each lease costs the manager the same."""
    least = settings.RRM.lease_target.total_seconds()
    age = (now - job.started_at).total_seconds() if job.started_at else 0.0
    return max(least, min(age / _LEASES_PER_AGE, _LONGEST_TARGET * least))


def _begin_job(job: Job, choice: scheduling.Choice, now: datetime) -> None:
    """Count a lease of `job`; the first one makes it RUNNING."""
    if job.state == JobState.QUEUED:
        advance(job, JobState.RUNNING, started_at=job.started_at or now)
    count = {"warm_hits": F("warm_hits") + 1} if choice.warm else {"loads": F("loads") + 1}
    # The state is part of the claim: a job that was cancelled or paused meanwhile gives nothing.
    if not Job.objects.filter(pk=job.pk, state=JobState.RUNNING).update(**count):
        raise StateConflict(f"Job {job.pk} is no longer offered.")


def _begin_node(node: Node, job: Job, choice: scheduling.Choice, now: datetime) -> None:
    """Make `node` BUSY with a model that it will hold from now on."""
    if node.state == NodeState.IDLE:
        advance(node, NodeState.BUSY, idle_since=None)
    if not Node.objects.filter(pk=node.pk, state=NodeState.BUSY).update(streak=choice.streak):
        raise StateConflict(f"Node {node.name} no longer takes work.")
    if not HeldModel.objects.filter(node=node, model_id=job.model_id).update(last_used=now):
        HeldModel.objects.get_or_create(node=node, model_id=job.model_id)


def _offer(lease: Lease) -> dict[str, Any]:
    """The lease as the node gets it."""
    job, model = lease.job, lease.job.model
    return {
        "id": str(lease.pk),
        "deadline_seconds": max(0.0, (lease.deadline - timezone.now()).total_seconds()),
        "job": str(job.pk),
        "start": lease.start,
        "stop": lease.stop,
        "width": job.width,
        "height": job.height,
        "tile_size": job.tile_size,
        "tile_cols": job.tile_cols,
        "tile_rows": job.tile_rows,
        "model": {"digest": model.digest, "renderer": model.renderer, "params": model.params},
        "view": job.view,
        "outputs": job.rendered,
        "preview_scale": job.preview_scale,
        "strip_lines": job.grid.strip_lines,
        "coloring": coloring.for_nodes(job.palette),
        "supersample": job.supersample,
        "adaptive": job.adaptive,
    }
