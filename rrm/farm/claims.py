"""Claims: one step forward of a share's cursor makes a range of tiles a node's until the deadline.

Rows are locked in this order everywhere, so that no two transactions wait for each other: job, quota, site, share,
lease, node. A claim leaves the job's row alone, as all nodes at work on it would queue there. So what stops a job has
to lock its shares before it looks for leases (`ranges.take_back`): either it finds the lease, or the claim finds it
stopped.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from rrm.domain import scheduling, tiling
from rrm.domain.states import JobState, NodeState
from rrm.errors import StateConflict
from rrm.farm import loading, quotas, statements, wakeups
from rrm.farm.market import Market, OpenJob, OpenShare
from rrm.farm.models import Event, HeldModel, Job, Lease, Node
from rrm.farm.transitions import advance, planned

_LEASES_PER_AGE = 5  # a lease grows to this part of the time that its job has taken
_LONGEST_TARGET = 5  # times RRM_LEASE_SECONDS
_BYTES_PER_PIXEL = 12  # of a bundle at most: RGB, counts and smooth values that do not compress, and a preview
_USE_RESOLUTION = timedelta(seconds=10)  # of HeldModel.last_used
# Relative to where the cursor is by now: rivals at one share wait for each other, and none of them in vain.
_CALL = "SELECT farm_claim(%s, %s, %s, %s, %s, %s, %s)"  # made by the migration 0012_claim
_CONFLICT = "RRM01"
_STEP = "UPDATE farm_jobshare SET cursor = cursor + %s WHERE id = %s AND cursor + %s <= stop RETURNING cursor"


class Known(Protocol):
    """A model that the node holds."""

    @property
    def last_used(self) -> datetime: ...

    @property
    def pixel_seconds(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What a node is to be given: a range of `share`, for the reason in `choice`. `held` is the model if it has it."""

    node: Node
    job: OpenJob
    share: OpenShare
    choice: scheduling.Choice
    held: Known | None


def take(market: Market, claim: Claim, now: datetime) -> Lease:
    """Claim the front of a share for the node that asks, or raise StateConflict when rivals left too little of it."""
    job, node, size = claim.job, claim.node, _size(market, claim, now)
    was_idle, is_new = node.state == NodeState.IDLE, claim.held is None
    with _together(market, claim):
        if not job.is_running:
            _begin_job(job.row.id, now)
        if job.row.owner_id in market.limited:
            quotas.hold_node(job.row.owner_id, node)
        if is_new:
            loading.begin(node, job.row.model_id, job.row.load_seconds, now)
        lease = _give(claim, size, now)
    job.is_running = True
    market.taken(node, job, claim.share, range(lease.start, lease.stop), now, is_new=is_new, was_idle=was_idle)
    if claim.held is not None and now - claim.held.last_used > _USE_RESOLUTION:
        statements.update(HeldModel, {"node": node.pk, "model": job.row.model_id}, {"last_used": now})
    return lease


def _together(market: Market, claim: Claim) -> AbstractContextManager[object]:
    """One transaction, where a claim is more than the one call that PostgreSQL makes of it."""
    is_one_call = claim.job.is_running and claim.held is not None and claim.job.row.owner_id not in market.limited
    return nullcontext() if is_one_call and _in_one_call() else transaction.atomic()


def _in_one_call() -> bool:
    return connection.vendor == "postgresql" and not connection.in_atomic_block


def _size(market: Market, claim: Claim, now: datetime) -> int:
    """How many tiles the node should get, by what is known of it and of the job."""
    job, share, held = claim.job.row, claim.share, claim.held
    cursor = share.cursor  # other threads move it
    left = share.stop - cursor
    if left < 1:
        raise StateConflict("Other nodes were faster.")
    size = tiling.range_size(
        remaining=left,
        nodes=market.crowd.at(share.site),
        cores=claim.node.cores,
        tile_pixels=claim.job.samples,
        # The first range of a job is small, whatever is known: somebody waits for the first tile.
        pixel_seconds=held.pixel_seconds if held and job.started_at else None,
        target_seconds=_target_seconds(job.started_at, now),
    )
    by_bytes = max(1, settings.RRM.max_body_bytes // (_BYTES_PER_PIXEL * job.tile_size**2))
    most = min(by_bytes, share.at_most or by_bytes, left)
    cols = job.tile_cols if job.preview_scale > 1 else 1  # where rows are sent as strips
    return tiling.end_of_range(cursor, min(size, most), most, cols) - cursor


def _target_seconds(started_at: datetime | None, now: datetime) -> float:
    """How much work a lease of a job should be: more as it goes on, since each lease costs the manager the same."""
    least = settings.RRM.lease_target.total_seconds()
    age = (now - started_at).total_seconds() if started_at else 0.0
    return max(least, min(age / _LEASES_PER_AGE, _LONGEST_TARGET * least))


def _begin_job(id: UUID, now: datetime) -> None:
    """The first lease makes a job RUNNING. That a rival did so is as good."""
    job = Job.objects.get(pk=id)
    with contextlib.suppress(StateConflict):
        if job.state == JobState.QUEUED:
            advance(job, JobState.RUNNING, started_at=job.started_at or now)


def _give(claim: Claim, size: int, now: datetime) -> Lease:
    """The lease of the next so many tiles of the share, for a node that is BUSY from now on."""
    node, choice = claim.node, claim.choice
    lease = Lease(
        job_id=claim.job.row.id,
        share_id=claim.share.id,
        node=node,
        start=0,
        stop=size,
        decision=choice.reason,
        warm=choice.warm,
        created_at=now,
        deadline=now + settings.RRM.lease_minimum,
    )
    origin, event = node.state, None
    news: Mapping[str, Any] = {"streak": choice.streak, "streak_since": choice.streak_since, "last_heartbeat": now}
    if origin == NodeState.IDLE:
        news, event = planned(node, NodeState.BUSY, idle_since=None, **news)
    elif origin != NodeState.BUSY:
        raise StateConflict(f"Node {node.name} takes no work.")
    write = _call if connection.vendor == "postgresql" else _write
    lease.start = write(lease, origin, news, event)
    lease.stop = lease.start + size
    node.last_heartbeat = now
    if event is not None:
        transaction.on_commit(wakeups.announce_events, robust=True)
    return lease


def _call(lease: Lease, origin: str, news: Mapping[str, Any], event: Event | None) -> int:
    """What `_write` does, in one call: nobody waits for a locked share while this process waits for its turn."""
    facts: list[Any] = [
        lease.share_id,
        lease.stop,
        statements.as_json(lease),
        lease.node_id,
        origin,
        json.dumps(news, default=str),
    ]
    with connection.cursor() as cursor:
        try:
            cursor.execute(_CALL, [*facts, statements.as_json(event) if event else None])
        except DatabaseError as error:
            if getattr(error.__cause__, "sqlstate", None) == _CONFLICT:
                raise StateConflict(f"The claim of {lease.node.name} came too late.") from None
            raise
        return int(cursor.fetchone()[0])


def _write(lease: Lease, origin: str, news: Mapping[str, Any], event: Event | None) -> int:
    """Move the cursor of the share, and store what follows from that; the first of the tiles."""
    with connection.cursor() as cursor:
        cursor.execute(_STEP, [lease.stop, lease.share_id, lease.stop])
        row = cursor.fetchone()
    if row is None:
        raise StateConflict("Other nodes were faster.")
    lease.start, lease.stop = int(row[0]) - lease.stop, int(row[0])
    source = "farm_job WHERE id = %s AND state = %s"  # looked at when the share is locked: see above
    if not statements.insert(lease, source, [statements.key(Job, lease.job_id), JobState.RUNNING]):
        raise StateConflict(f"Job {lease.job_id} is no longer offered.")
    if not statements.update(Node, {"pk": lease.node_id, "state": origin}, news):
        raise StateConflict(f"Node {lease.node.name} no longer takes work.")
    if event is not None:
        statements.insert(event)
    return lease.start
