"""Leases: giving ranges of tiles to nodes that ask.

A node asks, `domain.scheduling` picks a job from the `market`, and `claims` makes a range of it that node's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from django.utils import timezone

from rrm.domain import coloring, scheduling
from rrm.domain.states import LeaseState
from rrm.errors import StateConflict
from rrm.farm import booking, claims, copies, market, preloading, quotas, reports
from rrm.farm.models import Job, Lease, Node
from rrm.farm.transitions import CHANGED

_TRIES = 5


def next_lease(node: Node, report: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What a node that asks for work should do: {"command", "lease", "retry_after", "session", "preload"}.

    A lease whose answer was lost on the way is handed out again. None as lease means that there is nothing to do
    but to load the model to preload, if there is one. `node` is as it was just read.
    """
    in_hand, known = reports.of(node)
    reports.keep(report, in_hand, now)
    held = reports.holds(node, known, report, now)
    command = reports.command_for(node)
    if command != "run":
        reports.note_life(node, report, now)
        return {"command": command, "lease": None, "retry_after": 0, "session": None}
    if lost := in_hand.keys() - set(report.get("leases", ())):
        lease = Lease.objects.filter(pk=min(lost), state=LeaseState.ACTIVE).first()
    elif booking.serve(node, now):
        reports.note_life(node, report, now)
        return {"command": command, "lease": None, "retry_after": 1, "session": booking.session_of(node)}
    else:
        lease = _claim(node, held, len(in_hand), now) if len(in_hand) < market.AHEAD else None
        if lease is None and not in_hand:
            lease = copies.claim(node, now)
    reports.note_life(node, report, now)
    preload = None if lease or in_hand else preloading.next_for(node, report, now)
    offer = _offer(lease) if lease else None
    return {
        "command": command,
        "lease": offer,
        "retry_after": 0 if lease or preload else 1,
        "session": None,
        "preload": preload,
    }


def _claim(node: Node, held: Mapping[str, reports.Held], in_hand: int, now: datetime) -> Lease | None:
    """A new lease for `node`, or None when nothing is worth giving. Rivals make it choose again, a few times."""
    since = 0.0
    for _ in range(_TRIES):
        offered, choice = _choose(node, held, in_hand, now, since)
        if choice is None:
            return None
        try:
            return claims.take(offered, _taking(offered, node, choice, held), now)
        except quotas.NoRoom:
            offered.filled(choice.job_id)
        except StateConflict:
            node.refresh_from_db(fields=CHANGED)
            since = time.monotonic()
    return None


def _choose(
    node: Node, held: Mapping[str, reports.Held], in_hand: int, now: datetime, since: float
) -> tuple[market.Market, scheduling.Choice | None]:
    """What is best for `node`. Nobody waits, or loads a model, for what was true longer ago than a moment."""
    best = partial(_best, node, held, in_hand, now)
    choice = best(offered := market.of(node, since))
    if choice is None or not choice.warm:
        choice = best(offered := market.of(node, since, young=True))
    if choice is None and offered.recount():
        choice = best(offered)
    return offered, choice


def _best(
    node: Node, held: Mapping[str, reports.Held], in_hand: int, now: datetime, offered: market.Market
) -> scheduling.Choice | None:
    works_for = _owners(node) if in_hand and offered.full else frozenset()
    return offered.choose(offered.asking(node, held, in_hand, works_for), now)


def _owners(node: Node) -> frozenset[str]:
    """For whom the node works."""
    return frozenset(map(str, node.leases.filter(state=LeaseState.ACTIVE).values_list("job__owner", flat=True)))


def _taking(
    offered: market.Market, node: Node, choice: scheduling.Choice, held: Mapping[str, reports.Held]
) -> claims.Claim:
    """Raises StateConflict when another thread took the last of the job since it was chosen."""
    job = offered.jobs[choice.job_id]
    share = job.share_for(node.pk)
    if share is None:
        raise StateConflict("Other nodes were faster.")
    return claims.Claim(node, job, share, choice, held.get(choice.model))


def _offer(lease: Lease) -> dict[str, Any]:
    """The lease as the node gets it."""
    return {
        "id": str(lease.pk),
        "deadline_seconds": max(0.0, (lease.deadline - timezone.now()).total_seconds()),
        "start": lease.start,
        "stop": lease.stop,
        **_terms(lease.job_id),
    }


@lru_cache(256)
def _terms(job_id: UUID) -> Mapping[str, Any]:
    """What is the same in every lease of a job."""
    job = Job.objects.select_related("model").get(pk=job_id)
    model = job.model
    return {
        "job": str(job.pk),
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
