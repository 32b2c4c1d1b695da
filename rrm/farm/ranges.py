"""Ranges that come back without results, and nodes that have none left."""

from __future__ import annotations

import contextlib

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from rrm.domain import tiling
from rrm.domain.states import LeaseState, NodeState
from rrm.errors import StateConflict
from rrm.farm import wakeups
from rrm.farm.models import Job, JobShare, Lease, Node
from rrm.farm.transitions import advance


def give_back(lease: Lease, reason: str, *, failed: bool = False) -> None:
    """Return a lease, and offer its tiles again; after a failure in halves, so that a tile that fails is found."""
    source = lease.share
    is_single = lease.stop - lease.start == 1
    with transaction.atomic():
        advance(lease, LeaseState.RETURNED, reason, finished_at=timezone.now())
        blamed = [lease.node.name] if failed else []
        parts = tiling.halve(lease.start, lease.stop) if failed else ((lease.start, lease.stop),)
        JobShare.objects.bulk_create(
            JobShare(
                job_id=lease.job_id,
                site_id=source.site_id,
                start=start,
                stop=stop,
                cursor=start,
                at_most=stop - start if failed else source.at_most,
                failures=source.failures + 1 if failed and is_single else source.failures,
                failed_on=sorted({*source.failed_on, *blamed}),
            )
            for start, stop in parts
        )
        wakeups.announce_work()


def take_back(job: Job, reason: str) -> None:
    """Return every range of `job` that a node is at work on. Call it inside the transaction that stops the job."""
    # A claim that is being made ends first; one that is made later finds the job stopped.
    list(job.shares.select_for_update().order_by("pk").values_list("pk"))
    for lease in job.leases.filter(state=LeaseState.ACTIVE).select_related("node", "share"):
        give_back(lease, reason)
        release(lease.node)


def give_back_all(node: Node, reason: str) -> None:
    """Return everything that `node` holds, because it is leaving or gone."""
    for lease in node.leases.filter(state=LeaseState.ACTIVE).select_related("node", "share"):
        with contextlib.suppress(StateConflict):
            give_back(lease, reason)


def release(node: Node) -> None:
    """Make a node that holds no lease any more IDLE again. Call it inside the transaction that ended the lease."""
    at_work = Lease.objects.filter(node=OuterRef("pk"), state=LeaseState.ACTIVE)
    found = Node.objects.filter(pk=node.pk).annotate(at_work=Exists(at_work)).values_list("state", "at_work").first()
    if found is None:
        return
    node.state = found[0]
    if node.state == NodeState.BUSY and not found[1]:
        with contextlib.suppress(StateConflict):
            advance(node, NodeState.IDLE, idle_since=timezone.now())
