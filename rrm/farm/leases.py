"""Leases: giving ranges of tiles to nodes that ask.

A node asks, `domain.scheduling` picks a job from the `market`, and `claims` makes a range of it that node's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from rrm.domain import coloring, facts, scheduling
from rrm.domain.states import LeaseState
from rrm.errors import StateConflict
from rrm.farm import booking, claims, fairness, market, quotas, reports
from rrm.farm.models import Lease, Node

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
        lease = _claim(node, now) if len(held) < market.AHEAD else None
    offer = _offer(lease) if lease else None
    return {"command": command, "lease": offer, "retry_after": 0 if lease else 1, "session": None}


def _claim(node: Node, now: datetime) -> Lease | None:
    """A new lease for `node`, or None when nothing is worth giving. Rivals make it choose again, a few times."""
    for _ in range(_TRIES):
        offered = market.survey(node, now)
        if not offered.shares:
            return None
        owners = {share.job.owner_id for share in offered.shares}
        choice = scheduling.choose(
            offered.asking(),
            offered.jobs(),
            facts.Holders.of(offered.rivals()),
            now,
            rounds=fairness.rounds(owners),
            full=quotas.full(owners),
        )
        if choice is None:
            return None
        share = next(share for share in offered.shares if str(share.job_id) == choice.job_id)
        with contextlib.suppress(StateConflict):
            return claims.take(offered, share, choice, now)
    return None


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
