"""Second copies: an idle node renders what a slow one has had for too long, and the first result counts.

What has run for so long is taken to need as long again, so another node gets it if it would need less. The lease that
stands for the tiles stays the first one's until one of the two delivers, or the first gives up (`ranges`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, Max, OuterRef, Q

from rrm.domain import facts, tiling
from rrm.domain.states import JOB_OFFERED, LeaseState, NodeState
from rrm.errors import StateConflict
from rrm.farm import loading, quarantine, quotas
from rrm.farm.models import HeldModel, Job, Lease, Node
from rrm.farm.transitions import advance

DECISION = "copy"
_LEAST = timedelta(seconds=5)
_UNMEASURED = timedelta(seconds=30)  # for a model that nobody has measured yet
_TIMES = 3  # as long as expected
_LOOKED_AT = 50


def claim(node: Node, now: datetime) -> Lease | None:
    """A second lease of the range that is most overdue, for a node that holds nothing; None when there is none."""
    slow = list(_running(node, now)[:_LOOKED_AT])
    if not slow or node.state != NodeState.IDLE:
        return None
    known = _Known.of(node, slow)
    for lease in slow:
        if known.is_worth_it(lease, now):
            with contextlib.suppress(StateConflict, IntegrityError):
                return _take(node, lease, known, now)
    return None


def _running(node: Node, now: datetime) -> Any:
    """What others have had for a while and this node may take, the oldest first; each node tries a range once."""
    same = Lease.objects.filter(share=OuterRef("share"), start=OuterRef("start"))
    here = Q(share__site=None) | Q(share__site=node.site_id)
    listed = Q(job__site_index="") | Q(job__site_index__contains=f"|{node.site_id}|")
    return (
        Lease.objects.filter(
            here,
            listed,
            ~Exists(same.filter(Q(node=node) | Q(state=LeaseState.ACTIVE, is_copy=True))),
            state=LeaseState.ACTIVE,
            is_copy=False,
            created_at__lt=now - _LEAST,
            job__state__in=JOB_OFFERED,
            job__resource=node.resource_id,
        )
        .exclude(quarantine.in_force(now, "job__model__"))
        .select_related("job__model", "share")
        .order_by("created_at", "id")
    )


@dataclass(frozen=True)
class _Known:
    """What is known of how fast nodes are, and of what they do."""

    node: Node
    speeds: Mapping[Any, Mapping[Any, float]]  # model → node → seconds per sample
    held: frozenset[Any]
    in_hand: Mapping[Any, Sequence[Lease]]  # node → what it holds, in the order in which it got it
    delivered: Mapping[Any, datetime]  # node → when it last did

    @classmethod
    def of(cls, node: Node, slow: Sequence[Lease]) -> _Known:
        models, nodes = {lease.job.model_id for lease in slow}, {lease.node_id for lease in slow}
        speeds: dict[Any, dict[Any, float]] = {model: {} for model in models}
        for held in HeldModel.objects.filter(model__in=models, pixel_seconds__isnull=False):
            speeds[held.model_id][held.node_id] = held.pixel_seconds or 0.0
        in_hand: dict[Any, list[Lease]] = {}
        active = Lease.objects.filter(node__in=nodes, state=LeaseState.ACTIVE).select_related("job__model")
        for lease in active.order_by("created_at", "id"):
            in_hand.setdefault(lease.node_id, []).append(lease)
        done = Lease.objects.filter(node__in=nodes, state=LeaseState.DONE, finished_at__gt=slow[0].created_at)
        held_here = HeldModel.objects.filter(node=node, loading=False).values_list("model", flat=True)
        latest = dict(done.order_by().values_list("node").annotate(Max("finished_at")))
        return cls(node, speeds, frozenset(held_here), in_hand, latest)

    def is_worth_it(self, lease: Lease, now: datetime) -> bool:
        """It is long overdue, and this node would most likely be done before the one that has it."""
        if self.node.name in lease.share.failed_on:
            return False
        begun = max(lease.created_at, self.delivered.get(lease.node_id, lease.created_at))
        age, expected = now - begun, self._expected(lease)
        if age <= (_UNMEASURED if expected is None else max(_LEAST, _TIMES * timedelta(seconds=expected))):
            return False
        mine = timedelta(seconds=self.cost(lease, self.node.pk) or 0.0)
        return mine < age and (self.node.ends_at is None or facts.is_done_before(self.node.ends_at, mine, now))

    def _expected(self, lease: Lease) -> float | None:
        """Seconds that its node needs for it and what it got before; None when that cannot be told."""
        until = [held for held in self.in_hand.get(lease.node_id, ()) if held.created_at <= lease.created_at]
        costs = [self.cost(held, lease.node_id) for held in until if held.job.model_id in self.speeds]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def cost(self, lease: Lease, node: Any) -> float | None:
        """Seconds that a node needs for the range, loading included; None when nobody has measured the model."""
        speeds = self.speeds[lease.job.model_id]
        if not speeds:
            return None
        job = lease.job
        pixels = sum(job.grid.box(tile).pixels for tile in range(lease.start, lease.stop))
        samples = tiling.samples(pixels, job.supersample, adaptive=job.adaptive)
        is_warm = lease.warm if node == lease.node_id else job.model_id in self.held
        load = 0.0 if is_warm else job.model.load_seconds or 0.0
        return samples * speeds.get(node, fmean(speeds.values())) + load


def _take(node: Node, lease: Lease, known: _Known, now: datetime) -> Lease:
    """Raises StateConflict or IntegrityError when the range is done, or another copy of it began."""
    is_warm = lease.job.model_id in known.held
    with transaction.atomic():
        # Locked, as it is when a range ends or the job stops: the first lease stays what it is until commit.
        job = Job.objects.select_for_update(no_key=True).select_related("model").filter(pk=lease.job_id).first()
        first = Lease.objects.filter(pk=lease.pk, state=LeaseState.ACTIVE, is_copy=False)
        if job is None or job.state not in JOB_OFFERED or not first.exists():
            raise StateConflict("The range is done.")
        quotas.hold_node(job.owner_id, node)
        streak = {"streak": node.streak + 1} if is_warm else {"streak": 0, "streak_since": now}
        advance(node, NodeState.BUSY, idle_since=None, **streak)
        loading.begin(node, job.model_id, job.model.load_seconds, now)
        return Lease.objects.create(
            job=job,
            share=lease.share,
            node=node,
            start=lease.start,
            stop=lease.stop,
            decision=DECISION,
            warm=is_warm,
            is_copy=True,
            created_at=now,
            deadline=now + settings.RRM.lease_minimum,
        )
