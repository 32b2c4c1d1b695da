"""Second copies: an idle node renders what a slow one has had for too long, and the first result counts.

What has run for so long is taken to need as long again, so another node gets it if it would need less. The lease that
stands for the tiles stays the first one's until one of the two delivers, or the first gives up (`ranges`). A tenth of
the nodes may be at copies: where more is slow, no node is to blame, and copies would slow down the rest too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from rrm.domain import facts, tiling
from rrm.domain.scheduling import Reason
from rrm.domain.states import JOB_OFFERED, LeaseState, NodeState
from rrm.errors import StateConflict
from rrm.farm import crowd, eligible, loading, quarantine, quotas, wakeups
from rrm.farm.kept import Kept
from rrm.farm.models import HeldModel, Job, Lease, Node, Site
from rrm.farm.transitions import CHANGED, advance

_LEAST = timedelta(seconds=5)
_UNMEASURED = timedelta(seconds=30)  # for a model that nobody has measured yet
_TIMES = 3  # as long as expected
_LOOKED_AT = 50
_NODES_PER_COPY = 10
_LEAST_COPIES = 4  # that may be under way at a resource, however few nodes it has
_TRIES = 3


def claim(node: Node, now: datetime) -> Lease | None:
    """A second lease of a range that is overdue, for a node that holds nothing; None when there is none."""
    look = _looks.get((node.resource_id, node.site_id), wakeups.WORK.rung_at)
    for _ in range(_TRIES):
        fitting = (lease for lease in look.overdue(now) if look.suits(node, lease, now))
        lease = next(fitting, None) if node.state == NodeState.IDLE else None
        if lease is None:
            return None
        look.settled.add(lease.pk)  # whatever comes of it: nobody else need try
        try:
            return _take(node, lease, look, now)
        except quotas.NoRoom:
            look.room[lease.job.owner_id] = 0
        except (StateConflict, IntegrityError):
            node.refresh_from_db(fields=CHANGED)
    return None


def takers(idle: Collection[Node], now: datetime) -> Iterator[UUID]:
    """Which of these nodes would be given a copy if all asked now: one for each range. No query for each node."""
    places: dict[tuple[str, str], list[Node]] = {}
    for node in idle:
        places.setdefault((node.resource_id, node.site_id), []).append(node)
    taken: set[UUID] = set()
    called: Counter[int] = Counter()
    for place, left in sorted(places.items()):
        look = _looks.get(place, wakeups.WORK.rung_at)
        for lease in look.overdue(now):
            owner = lease.job.owner_id
            if lease.pk in taken or called[owner] >= look.room.get(owner, len(idle)):
                continue
            if taker := next((node for node in left if look.suits(node, lease, now)), None):
                taken.add(lease.pk)
                called[owner] += 1
                left.remove(taker)
                yield taker.pk


def _running(resource: str, site: str, now: datetime) -> QuerySet[Lease]:
    """What nodes have had for a while, nobody has a copy of and a node at the site may take, the oldest first."""
    same = Lease.objects.filter(share=OuterRef("share"), start=OuterRef("start"))
    return (
        Lease.objects.filter(
            Q(share__site=None) | Q(share__site=site),
            eligible.at(Site.objects.get(pk=site)),
            ~Exists(same.filter(state=LeaseState.ACTIVE, is_copy=True)),
            state=LeaseState.ACTIVE,
            is_copy=False,
            created_at__lt=now - _LEAST,
            job__state__in=JOB_OFFERED,
            job__resource=resource,
        )
        .exclude(quarantine.out_of_reach(now, resource, site))
        .select_related("job__model", "share")
        .order_by("created_at", "id")
    )


def _places(resource: str) -> int:
    """How many more nodes may begin copies."""
    under_way = Lease.objects.filter(state=LeaseState.ACTIVE, is_copy=True, job__resource=resource).count()
    return max(0, max(_LEAST_COPIES, crowd.of(resource).at() // _NODES_PER_COPY) - under_way)


@dataclass(frozen=True)
class _Look:
    """What is slow that a site's nodes may take, how fast nodes are, and what they do."""

    slow: Sequence[Lease]
    speeds: Mapping[Any, Mapping[Any, float]]  # model → node → seconds per sample
    held: frozenset[tuple[Any, Any]]  # (node, model), loaded
    in_hand: Mapping[Any, Sequence[Lease]]  # node → what it holds, in the order in which it got it
    delivered: Mapping[Any, datetime]  # node → when it last did
    had: frozenset[tuple[Any, Any, int]]  # (node, share, start): each node tries a range once
    room: dict[int, int]
    """How many more nodes may work for each owner who has such a limit."""
    settled: set[Any] = field(default_factory=set)
    """Of `slow`, what this process has given out since."""
    _due: dict[Any, datetime] = field(default_factory=dict)
    _samples: dict[Any, int] = field(default_factory=dict)
    _means: dict[Any, float] = field(default_factory=dict)

    @classmethod
    def at(cls, place: tuple[str, str]) -> _Look:
        running = _running(*place, timezone.now())
        slow = list(running[:_LOOKED_AT])
        room = quotas.room(quotas.limited({lease.job.owner_id for lease in slow}))
        if full := [owner for owner, left in room.items() if left <= 0]:
            slow = list(running.exclude(job__owner__in=full)[:_LOOKED_AT])
        if slow:
            # In an order of its own, so that processes seldom try the same.
            slow = random.sample(slow, min(_places(place[0]), len(slow)))
        if not slow:
            return cls((), {}, frozenset(), {}, {}, frozenset(), {})
        jobs, starts = {lease.job_id for lease in slow}, {lease.start for lease in slow}
        models, nodes = {lease.job.model_id for lease in slow}, {lease.node_id for lease in slow}
        speeds: dict[Any, dict[Any, float]] = {model: {} for model in models}
        loaded = set()
        known = HeldModel.objects.filter(model__in=models).values_list("node", "model", "pixel_seconds", "loading")
        for node, model, seconds, is_loading in known:
            if seconds is not None:
                speeds[model][node] = seconds
            if not is_loading:
                loaded.add((node, model))
        in_hand: dict[Any, list[Lease]] = {}
        active = Lease.objects.filter(node__in=nodes, state=LeaseState.ACTIVE).select_related("job__model")
        for lease in active.order_by("created_at", "id"):
            in_hand.setdefault(lease.node_id, []).append(lease)
        since = min(lease.created_at for lease in slow)
        done = Lease.objects.filter(node__in=nodes, state=LeaseState.DONE, finished_at__gt=since)
        latest = dict(done.order_by().values_list("node").annotate(Max("finished_at")))
        tried = Lease.objects.filter(job__in=jobs, start__in=starts).order_by().values_list("node", "share", "start")
        return cls(slow, speeds, frozenset(loaded), in_hand, latest, frozenset(tried), dict(room))

    def overdue(self, now: datetime) -> list[Lease]:
        """What has run for so long that it is given to another one who is likely to be done before."""
        return [lease for lease in self.slow if self._is_open(lease) and now > self._due_at(lease)]

    def _is_open(self, lease: Lease) -> bool:
        return lease.pk not in self.settled and self.room.get(lease.job.owner_id, 1) > 0

    def suits(self, node: Node, lease: Lease, now: datetime) -> bool:
        """Whether a node of the place has not tried it, and would most likely be done before the one that has it."""
        if (node.pk, lease.share_id, lease.start) in self.had or node.name in lease.share.failed_on:
            return False
        if quarantine.is_in_force(lease.job.model, now) and (node.pk, lease.job.model_id) not in self.held:
            return False
        mine = timedelta(seconds=self.cost(lease, node.pk) or 0.0)
        is_faster = mine < now - self._begun(lease)
        return is_faster and (node.ends_at is None or facts.is_done_before(node.ends_at, mine, now))

    def _begun(self, lease: Lease) -> datetime:
        return max(lease.created_at, self.delivered.get(lease.node_id, lease.created_at))

    def _due_at(self, lease: Lease) -> datetime:
        if lease.pk not in self._due:
            expected = self._expected(lease)
            most = _UNMEASURED if expected is None else max(_LEAST, _TIMES * timedelta(seconds=expected))
            self._due[lease.pk] = self._begun(lease) + most
        return self._due[lease.pk]

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
        if job.model_id not in self._means:
            self._means[job.model_id] = fmean(speeds.values())
        if lease.pk not in self._samples:
            pixels = sum(job.grid.box(tile).pixels for tile in range(lease.start, lease.stop))
            self._samples[lease.pk] = tiling.samples(pixels, job.supersample, adaptive=job.adaptive)
        is_warm = lease.warm if node == lease.node_id else (node, job.model_id) in self.held
        load = 0.0 if is_warm else job.model.load_seconds or 0.0
        return self._samples[lease.pk] * speeds.get(node, self._means[job.model_id]) + load


def _take(node: Node, lease: Lease, look: _Look, now: datetime) -> Lease:
    """Raises StateConflict or IntegrityError when the range is done, or another copy of it began."""
    if not _running(node.resource_id, node.site_id, now).filter(pk=lease.pk).exists():
        raise StateConflict("Somebody was faster.")  # found out before waiting for the job's row
    is_warm = (node.pk, lease.job.model_id) in look.held
    with transaction.atomic():
        # Locked, as it is when a range ends or the job stops: the first lease stays what it is until commit.
        job = Job.objects.select_for_update(no_key=True).select_related("model").filter(pk=lease.job_id).first()
        first = Lease.objects.filter(pk=lease.pk, state=LeaseState.ACTIVE, is_copy=False)
        tried = Lease.objects.filter(share=lease.share_id, start=lease.start, node=node)
        if job is None or job.state not in JOB_OFFERED or not first.exists() or tried.exists():
            raise StateConflict("The range is done, or the node has tried it.")
        quotas.hold_node(job.owner_id, node)
        streak = _streak(node, 0.0 if is_warm else job.model.load_seconds or 0.0, now)
        loading.begin(node, job.model_id, job.model.load_seconds, now)  # its site is locked before nodes are
        advance(node, NodeState.BUSY, idle_since=None, **streak)
        return Lease.objects.create(
            job=job,
            share=lease.share,
            node=node,
            start=lease.start,
            stop=lease.stop,
            decision=Reason.COPY,
            warm=is_warm,
            is_copy=True,
            created_at=now,
            deadline=now + settings.RRM.lease_minimum,
        )


def _streak(node: Node, load_seconds: float, now: datetime) -> Mapping[str, Any]:
    """A copy counts as any lease does: a load that takes a moment only ends no streak."""
    if load_seconds <= facts.LIGHT * settings.RRM.lease_target.total_seconds():
        return {"streak": node.streak + 1}
    return {"streak": 0, "streak_since": now + timedelta(seconds=load_seconds)}


# Every idle node that finds no tiles asks this, and nearly always nobody is slow.
_looks: Kept[tuple[str, str], _Look] = Kept(_Look.at)
