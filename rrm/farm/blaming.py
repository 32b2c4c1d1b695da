"""Blame: telling a node that fails from a tile that fails, and sending away nodes that are to blame.

A failed range says nothing about its node: a tile in it may be poison. Once others have completed all of it, it was
the node. Nodes that are lost, or too slow, are not blamed; `patience` looks after those. Everything here may run twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from rrm.domain.scheduling import Reason
from rrm.domain.states import NODE_WORKING, JobState, LeaseState
from rrm.farm import blocking, nodes
from rrm.farm.models import Block, Job, Lease, Node, Site
from rrm.farm.transitions import record

logger = logging.getLogger(__name__)

MOST_BLAMES = 3
NODES_PER_MACHINE = 2  # so many nodes of a machine are blocked before the machine is
_OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.COMPOSING, JobState.COMPLETED)


def settle(lease: Lease, now: datetime) -> None:
    """`lease` was completed: see whether somebody who failed on these tiles is to blame. Not in its transaction."""
    if lease.share.failed_on or lease.decision == Reason.COPY:
        overlapping = Q(job=lease.job_id, start__lt=lease.stop, stop__gt=lease.start)
        _settle(_suspects().filter(overlapping), now)


def look_after(now: datetime) -> None:
    """What a process that died has left: failures that can be told apart by now, blocked nodes that still work."""
    _settle(_suspects().filter(job__state__in=_OPEN), now)
    for block in blocking.in_force(now):
        with transaction.atomic():
            _send_away(block)


def acquit(job: Job) -> None:
    """The job failed by its own fault: nobody is blamed for what was part of it."""
    job.leases.filter(fault=Lease.Fault.SUSPECT).update(fault=Lease.Fault.NONE)


def turn_away(node: Node, now: datetime) -> str:
    """Why a node that checks in is sent away again; empty when its machine is not blocked."""
    block = blocking.of(node, now)
    if block is None:
        return ""
    nodes.drain(node, "blocking", blocking.describe(block))
    return blocking.describe(block)


def _suspects() -> QuerySet[Lease]:
    return Lease.objects.filter(fault=Lease.Fault.SUSPECT).select_related("job", "node__site", "node__resource")


def _settle(suspects: Iterable[Lease], now: datetime) -> None:
    for failed in suspects:
        verdict = _verdict(failed)
        if verdict is None:
            continue
        with transaction.atomic():
            job = Job.objects.select_for_update(no_key=True).filter(pk=failed.job_id).first()
            still = Lease.objects.filter(pk=failed.pk, fault=Lease.Fault.SUSPECT)
            if job and still.update(fault=verdict) and verdict == Lease.Fault.BLAMED:
                _blame(failed.node, job, now)


def _verdict(failed: Lease) -> Lease.Fault | None:
    """None as long as tiles of the failed range are missing. Whoever completed some of it later could do it."""
    within = Lease.objects.filter(
        job=failed.job_id, state=LeaseState.DONE, start__gte=failed.start, stop__lte=failed.stop
    )
    done = within.aggregate(tiles=Sum(F("stop") - F("start")))["tiles"] or 0
    if done < failed.stop - failed.start:
        return None
    return Lease.Fault.NONE if within.filter(node=failed.node_id).exists() else Lease.Fault.BLAMED


def _blame(node: Node, job: Job, now: datetime) -> None:
    """Count it, and block the node when it is too much."""
    _lock(node)
    lately = Q(fault=Lease.Fault.BLAMED, finished_at__gt=now - settings.RRM.block_period)
    blames = Lease.objects.filter(lately, node=node).count()
    Node.objects.filter(pk=node.pk).update(blames=blames)
    own = blocking.in_force(now).filter(site=node.site_id, node=node.name)
    if blames < MOST_BLAMES or own.exists():
        return
    reason = f"it failed on {blames} ranges that others completed"
    _block(node, node.name, reason, now)
    message = f"{node.name} is given no more work: {reason}"
    record(job, "log", {"level": "warning", "message": message})
    if _may_block_machine(node) and _is_machine_to_blame(node, now):
        _block(node, "", f"{NODES_PER_MACHINE} nodes on it failed on ranges that others completed", now)


def _lock(node: Node) -> None:
    """Lock the node's row, and of its machine's nodes all that a block of it would send away.

    In one order, and before anything is counted: two that are blamed at the same moment neither wait for each other
    nor both block their machine.
    """
    which = Q(pk=node.pk)
    if _may_block_machine(node):
        same = Q(site=node.site_id, resource__renderer=node.resource.renderer, state__in=NODE_WORKING)
        which |= same & _on_machine(node.place)
    list(Node.objects.select_for_update(of=("self",), no_key=True).filter(which).order_by("pk").only("pk"))


def _may_block_machine(node: Node) -> bool:
    return node.site.kind == Site.Kind.SLURM and bool(node.place)


def _on_machine(name: str) -> Q:
    return Q(machine=name) | Q(machine="", hostname=name)


def _is_machine_to_blame(node: Node, now: datetime) -> bool:
    here = blocking.in_force(now).filter(site=node.site_id, hostname=node.place, renderer=node.resource.renderer)
    return not here.filter(node="").exists() and here.count() >= NODES_PER_MACHINE


def _block(node: Node, name: str, reason: str, now: datetime) -> None:
    """Block the node of this name, or its whole machine, and send away whom that concerns."""
    block = Block.objects.create(
        site_id=node.site_id,
        hostname=node.place,
        node=name,
        renderer=node.resource.renderer,
        reason=reason,
        created_at=now,
        until=now + settings.RRM.block_period,
    )
    whom = name or f"Machine {node.place}"
    logger.warning("%s at %s is blocked for %s: %s", whom, node.site_id, block.renderer, reason)
    record(node.site, "log", {"level": "warning", "message": f"{whom} is blocked for {block.renderer}: {reason}"})
    _send_away(block)


def _send_away(block: Block) -> None:
    """Drain the nodes that the block concerns; who has booked one keeps it. Call it in a transaction."""
    working = Node.objects.filter(state__in=NODE_WORKING, site=block.site_id, resource__renderer=block.renderer)
    concerned = working.filter(Q(name=block.node) if block.node else _on_machine(block.hostname))
    # Locked, so that none of them takes work at this moment; in one order everywhere.
    locked = concerned.select_for_update(of=("self",), no_key=True)
    for node in locked.select_related("site", "resource").order_by("pk"):
        nodes.drain(node, "blocking", blocking.describe(block))
