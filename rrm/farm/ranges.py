"""Ranges that come back without results, those that two nodes render, and nodes that have none left."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from rrm.domain import tiling
from rrm.domain.states import LeaseState, NodeState
from rrm.errors import StateConflict
from rrm.farm import statements, wakeups
from rrm.farm.models import Job, JobShare, Lease, Node
from rrm.farm.transitions import advance

_SETTLED = timedelta(seconds=5)
FASTER = "another node was faster with the same tiles"


def give_back(lease: Lease, reason: str, *, failed: bool = False) -> None:
    """Return a lease. Its tiles are offered again, unless a second node is at work on them.

    After a failure, of this node or of another that had the same tiles, they are offered in halves, so that a tile that
    fails is found.
    """
    with transaction.atomic():
        # Both leases of the same tiles may end at this moment: the job's row makes one of them the first. Locks of jobs
        # are never for their keys: a claim, which holds a share, refers to the job.
        Job.objects.select_for_update(no_key=True).filter(pk=lease.job_id).first()
        twin = _twin(lease)
        changes: dict[str, Any] = {"finished_at": timezone.now()}
        if failed:
            changes["fault"] = Lease.Fault.SUSPECT
        if twin:
            changes["is_copy"] = True
        advance(lease, LeaseState.RETURNED, reason, **changes)
        if twin:
            Lease.objects.filter(pk=twin.pk).update(is_copy=False)
        else:
            _offer_again(lease)


def overtake(lease: Lease) -> None:
    """Make `lease` the one that stands for its tiles, and take them from a second node that renders the same.

    Call it in the transaction that takes the results, once that has locked the job's row. Both nodes are locked then.
    """
    twin = _twin(lease)
    if twin:
        advance(twin, LeaseState.RETURNED, FASTER, finished_at=timezone.now(), is_copy=True)
        Lease.objects.filter(pk=lease.pk).update(is_copy=False)
        _lock(lease.node, twin.node)
        release_locked(twin.node)


def has_twin(lease: Lease) -> bool:
    """Whether another node is at work on the same tiles."""
    return _twin(lease) is not None


def failures(lease: Lease) -> tuple[int, frozenset[str]]:
    """How often its tiles have failed, also while a second node was at work on them, and the names of the nodes."""
    same = Lease.objects.filter(share=lease.share_id, start=lease.start, stop=lease.stop, state=LeaseState.RETURNED)
    names = list(same.exclude(fault=Lease.Fault.NONE).values_list("node__name", flat=True))
    return lease.share.failures + len(names), frozenset({*lease.share.failed_on, *names})


def _twin(lease: Lease) -> Lease | None:
    """The other lease of the same tiles, if one is at work on them."""
    same = {"job": lease.job_id, "start": lease.start, "stop": lease.stop, "state": LeaseState.ACTIVE}
    others = [pk for (pk,) in statements.select(Lease, ("pk",), same) if pk != lease.pk]
    return Lease.objects.select_related("node").get(pk=others[0]) if others else None


def _offer_again(lease: Lease) -> None:
    """The lease, and every other of the same tiles, is RETURNED by now."""
    source = lease.share
    is_single = lease.stop - lease.start == 1
    times, failed_on = failures(lease)
    failed = times > source.failures
    parts = tiling.halve(lease.start, lease.stop) if failed else ((lease.start, lease.stop),)
    JobShare.objects.bulk_create(
        JobShare(
            job_id=lease.job_id,
            site_id=source.site_id,
            start=start,
            stop=stop,
            cursor=start,
            at_most=stop - start if failed else source.at_most,
            failures=times if is_single else source.failures,
            failed_on=sorted(failed_on),
        )
        for start, stop in parts
    )
    wakeups.announce_work()


def take_back(job: Job, reason: str, *others: Node) -> None:
    """Return every range of `job` that a node is at work on, and release these nodes and `others`.

    Call it inside the transaction that stops the job.
    """
    # A claim that is being made ends first; one that is made later finds the job stopped.
    list(job.shares.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    held = list(job.leases.filter(state=LeaseState.ACTIVE).select_related("node", "share"))
    for lease in held:
        give_back(lease, reason)
    release(*others, *(lease.node for lease in held))


def give_back_all(node: Node, reason: str) -> None:
    """Return everything that `node` holds, because it is leaving or gone."""
    held = node.leases.filter(state=LeaseState.ACTIVE).select_related("node", "share")
    for lease in held.order_by("job_id", "created_at"):  # jobs are locked in the order of their keys everywhere
        with contextlib.suppress(StateConflict):
            give_back(lease, reason)


def release_forgotten(now: datetime) -> None:
    """Release the nodes that hold nothing and are BUSY all the same, whatever left them so."""
    at_work = Lease.objects.filter(node=OuterRef("pk"), state=LeaseState.ACTIVE)
    for node in Node.objects.filter(~Exists(at_work), state=NodeState.BUSY, state_since__lt=now - _SETTLED):
        with transaction.atomic():
            release(node)


def release(*nodes: Node) -> None:
    """Make those of the nodes that hold no lease any more IDLE again. Call it in the transaction that ended the leases.

    A node may lose its last two leases at the same moment, or be given another: only who has locked its row, as a claim
    does too, sees which lease is the last.
    """
    _lock(*nodes)
    for node in nodes:
        release_locked(node)


def _lock(*nodes: Node) -> None:
    """Lock the rows of nodes, in one order, as they are the last to be locked everywhere."""
    found = Node.objects.select_for_update(no_key=True).filter(pk__in={node.pk for node in nodes})
    list(found.order_by("pk").values_list("pk"))


def release_locked(node: Node) -> None:
    """The same for one node, whose row the transaction has locked, by writing to it for instance."""
    found = statements.select(Node, ("state",), {"pk": node.pk})
    if not found:
        return
    node.state = found[0][0]
    if node.state != NodeState.BUSY:
        return
    if not statements.select(Lease, ("pk",), {"node": node.pk, "state": LeaseState.ACTIVE}):
        with contextlib.suppress(StateConflict):
            advance(node, NodeState.IDLE, idle_since=timezone.now())
