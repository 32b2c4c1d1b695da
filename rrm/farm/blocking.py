"""Blocks: nodes, and machines, that are given no work of a renderer until they are forgiven."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from rrm.farm import wakeups
from rrm.farm.models import Block, Lease, Node, Site
from rrm.farm.transitions import iso, record

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def in_force(now: datetime) -> QuerySet[Block]:
    """The blocks that nobody has forgiven yet."""
    return Block.objects.filter(until__gt=now)


def of(node: Node, now: datetime) -> Block | None:
    """The block that keeps work from `node`, or None."""
    on_machine = Q(node="", hostname=node.place) if node.place else Q(pk=None)
    here = in_force(now).filter(site=node.site_id, renderer=node.resource.renderer)
    return here.filter(Q(node=node.name) | on_machine).first()


def machines(site: Site, renderer: str, now: datetime) -> Sequence[str]:
    """The machines of a site that no new node of the renderer should be started on.

    Only names that a scheduler can take for nothing else: they come from what nodes said of themselves.
    """
    blocked = in_force(now).filter(site=site, renderer=renderer, node="").values_list("hostname", flat=True)
    return sorted({name for name in blocked if _NAME.fullmatch(name)})


def forgive(block: Block, actor: str) -> None:
    """End a block now, that of a machine with those of its nodes. Twice is the same as once.

    A node that was sent away for it is not called back.
    """
    now = timezone.now()
    with transaction.atomic():
        if not _end(in_force(now).filter(pk=block.pk), actor, now):
            return
        block.refresh_from_db()
        # What they were blamed for is forgiven with it; otherwise the next failure would be the last straw.
        names = [block.node] if block.node else _end_of_nodes(block, actor, now)
        blamed = Lease.objects.filter(node__name__in=names, node__site=block.site_id, fault=Lease.Fault.BLAMED)
        blamed.update(fault=Lease.Fault.NONE)
        nodes = Node.objects.filter(name__in=names)
        list(nodes.select_for_update(no_key=True).order_by("pk").values_list("pk"))  # in one order, as everywhere
        nodes.update(blames=0)
        message = f"{block.node or block.hostname} may work for {block.renderer} again (forgiven by {actor})"
        record(block.site, "log", {"level": "info", "message": message}, actor=actor)
        wakeups.wake("rrm.autoscale")


def _end_of_nodes(block: Block, actor: str, now: datetime) -> list[str]:
    """End the blocks of the nodes that the machine is blocked for; their names."""
    same = {"site": block.site_id, "hostname": block.hostname, "renderer": block.renderer}
    own = in_force(now).filter(**same).exclude(node="")
    names = list(own.values_list("node", flat=True))
    _end(own, actor, now)
    return names


def _end(blocks: QuerySet[Block], actor: str, now: datetime) -> int:
    return blocks.update(until=now, lifted_by=actor[:150])


def describe(block: Block) -> str:
    """What a node that is sent away for it is told."""
    return f"Blocked until {iso(block.until.replace(microsecond=0))}: {block.reason}"[:500]
