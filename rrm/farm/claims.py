"""Claims: one compare-and-swap on a share's cursor makes a range of tiles a node's until the deadline."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import F

from rrm.domain import scheduling, tiling
from rrm.domain.states import JobState, NodeState
from rrm.errors import StateConflict
from rrm.farm import quotas
from rrm.farm.market import Market
from rrm.farm.models import HeldModel, Job, JobShare, Lease, Node
from rrm.farm.transitions import advance

_LEASES_PER_AGE = 5  # a lease grows to this part of the time that its job has taken
_LONGEST_TARGET = 5  # times RRM_LEASE_SECONDS
_BYTES_PER_PIXEL = 12  # of a bundle at most: RGB, counts and smooth values that do not compress, and a preview


def take(market: Market, share: JobShare, choice: scheduling.Choice, now: datetime) -> Lease:
    """Claim the front of `share` for the node that asks, or raise StateConflict when a rival was faster."""
    node, job, start = market.node, share.job, share.cursor
    held = market.models.get(node.pk, {}).get(choice.model)
    size = tiling.range_size(
        remaining=share.stop - start,
        nodes=sum(share.site_id in (None, other.site_id) for other in market.working),
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
        # Job, quota, share, lease, node: rows are locked in this order everywhere, so that no two transactions can wait
        # for each other.
        _begin_job(job, choice, now)
        quotas.hold_node(job.owner_id, node)
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
    if not Node.objects.filter(pk=node.pk, state=NodeState.BUSY).update(
        streak=choice.streak, streak_since=choice.streak_since
    ):
        raise StateConflict(f"Node {node.name} no longer takes work.")
    if not HeldModel.objects.filter(node=node, model_id=job.model_id).update(last_used=now):
        HeldModel.objects.get_or_create(node=node, model_id=job.model_id)
