"""The market of a site: which tiles its nodes may take, and what one decision goes by.

Threads share it for a moment (`Kept`): a range that turns out to be taken by somebody else is a StateConflict, and then
it is read anew. A node that would have nothing to do, or to load a model, goes by what was read a tenth of a second ago
at most; if reading takes long, somewhat more. What comes later rings the bell, or is found by the next look (`lobby`).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Case, F, Q, When, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from rrm.domain import scheduling, tiling
from rrm.domain.facts import JobFacts, NodeFacts, is_pressed
from rrm.domain.orders import PRIORITIES
from rrm.domain.queues import Queues
from rrm.domain.states import JOB_OFFERED, JobState
from rrm.farm import crowd, estimates, fairness, loading, quarantine, quotas, wakeups
from rrm.farm.crowd import Crowd
from rrm.farm.kept import Kept
from rrm.farm.models import JobShare, Node, Site

AHEAD = 3  # leases a node may hold: the one it uploads, the one it renders, and the next
_CANDIDATES = 2000


@dataclass(slots=True)
class OpenShare:
    """A range of tiles to be given out, from `cursor` on."""

    id: int
    site: str | None
    cursor: int
    stop: int
    at_most: int | None
    refused: frozenset[UUID]
    """Nodes that failed on it, as long as there is another that has not."""

    @property
    def left(self) -> int:
        return self.stop - self.cursor


class Columns(NamedTuple):
    """What is read of a job and its model: columns by their names."""

    id: UUID
    state: str
    owner_id: int
    model_id: UUID
    priority: str
    created_at: datetime
    tiles: int
    tiles_done: int
    started_at: datetime | None
    deadline: datetime | None
    tile_size: int
    tile_cols: int
    supersample: int
    adaptive: bool
    preview_scale: int
    site_ids: list[str]
    renderer: str
    load_seconds: float | None
    load_failures: list[tuple[str, float]]
    quarantined_until: datetime | None


_OF_MODEL = ("renderer", "load_seconds", "load_failures", "quarantined_until")
_COLUMNS = [f"job__model__{name}" if name in _OF_MODEL else f"job__{name}" for name in Columns._fields]


@dataclass(slots=True)
class OpenJob:
    """A job with tiles that the site's nodes may take."""

    row: Columns
    shares: list[OpenShare] = field(default_factory=list)
    is_running: bool = False

    def __post_init__(self) -> None:
        self.is_running = self.row.state == JobState.RUNNING

    @property
    def samples(self) -> int:
        """About how many points a tile has."""
        return tiling.samples(self.row.tile_size**2, self.row.supersample, adaptive=self.row.adaptive)

    def share_for(self, node: UUID) -> OpenShare | None:
        return next((share for share in self.shares if share.left > 0 and node not in share.refused), None)


@dataclass(slots=True)
class Market:
    """What the nodes of one site may take; `crowd` are all nodes of the resource."""

    crowd: Crowd
    jobs: dict[str, OpenJob]
    costs: estimates.Estimates
    rounds: Mapping[str, int]
    limited: Mapping[int, int]
    """How many nodes may work for an owner who has such a limit."""
    room: dict[int, int]
    """How many more may."""
    has_room: bool
    """Whether the site has room for one more load."""
    now: datetime
    facts: dict[str, JobFacts] = field(init=False)
    _queues: Queues = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.facts = {id: self._facts_of(job) for id, job in self.jobs.items()}
        self._queues = Queues(self.facts.values())

    @property
    def full(self) -> frozenset[str]:
        """The owners for whom no further node may work."""
        return frozenset(str(owner) for owner, left in self.room.items() if left <= 0)

    def asking(
        self, node: Node, held: Collection[str], in_hand: int = 0, works_for: frozenset[str] = frozenset()
    ) -> NodeFacts:
        """The facts of a node that asks, with so many leases of these owners in hand."""
        return NodeFacts(
            id=str(node.pk),
            resource=node.resource_id,
            site=node.site_id,
            held=frozenset(held),
            streak=node.streak,
            streak_since=node.streak_since,
            busy_seconds=in_hand * settings.RRM.lease_target.total_seconds(),
            ends_at=node.ends_at,
            works_for=works_for,
            rank=self.crowd.rank(node.site_id),
            free_since=node.idle_since,
        )

    def choose(self, asking: NodeFacts, now: datetime) -> scheduling.Choice | None:
        """What the node should take, by what is known here."""
        with self._lock:
            return scheduling.choose(asking, self._queues, self.crowd.holders, now, rounds=self.rounds, full=self.full)

    def taken(
        self, node: Node, job: OpenJob, share: OpenShare, tiles: range, now: datetime, *, is_new: bool, was_idle: bool
    ) -> None:
        """The tiles are the node's now, to which the model `is_new`: whoever chooses next goes by that."""
        id = str(job.row.id)
        with self._lock:
            share.cursor = max(share.cursor, tiles.stop)
            self.crowd.began(node, str(job.row.model_id), now, is_new=is_new)
            if was_idle and job.row.owner_id in self.room:
                self.room[job.row.owner_id] -= 1
            if id not in self._queues:
                return
            if any(other.left > 0 for other in job.shares):
                self._queues.claim(self.facts[id], len(tiles) * self._tile_seconds(job), now)
            else:
                self._queues.remove(self.facts[id])

    def filled(self, job: str) -> None:
        """As many nodes work for the owner of this job as may."""
        with self._lock:
            self.room[self.jobs[job].row.owner_id] = 0

    def recount(self) -> bool:
        """Look for how many more nodes each limited owner has room now; whether it is more than was known.

        For a node that found nothing: perhaps it has just finished what counted.
        """
        if not self.full:
            return False
        room = quotas.room(self.limited)
        with self._lock:
            is_more = any(left > max(self.room[owner], 0) for owner, left in room.items())
            self.room = dict(room)
        return is_more

    def _tile_seconds(self, job: OpenJob) -> float:
        return job.samples * self.costs.pixel_seconds(job.row.model_id)

    def _facts_of(self, job: OpenJob) -> JobFacts:
        row, tile_seconds = job.row, self._tile_seconds(job)
        bound_to = frozenset(share.site for share in job.shares if share.site) or frozenset(row.site_ids)
        refused = frozenset.intersection(*(share.refused for share in job.shares))
        left = (row.tiles - row.tiles_done) * tile_seconds
        return JobFacts(
            id=str(row.id),
            resource=self.crowd.resource,
            model=str(row.model_id),
            owner=str(row.owner_id),
            priority=row.priority,
            created_at=row.created_at,
            remaining_seconds=sum(share.left for share in job.shares) * tile_seconds,
            sites=bound_to or None,
            served_at=self.crowd.served_at(str(row.model_id)),
            load_seconds=self.costs.load_seconds(row.model_id),
            lease_seconds=max(settings.RRM.lease_target.total_seconds(), tile_seconds),
            deadline=row.deadline,
            pressed=is_pressed(row.deadline, left, self.crowd.at(*bound_to), self.now),
            refused=frozenset(map(str, refused)),
            is_loadable=self._is_loadable(row),
            is_begun=job.is_running,
        )

    def _is_loadable(self, row: Columns) -> bool:
        is_quarantined = row.quarantined_until is not None and row.quarantined_until > self.now
        return not is_quarantined and (self.has_room or not loading.counts(row.load_seconds))


class Rehearsal:
    """Who would take something if nodes asked one after the other, and each took a tile of what it chose."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._facts = market.facts
        self._room = dict(market.room)
        self._left = {id: sum(share.left for share in job.shares) for id, job in market.jobs.items()}
        self._queues = Queues(self._facts[id] for id, left in self._left.items() if left > 0)

    def takes(self, node: Node, held: Collection[str], now: datetime) -> bool:
        """Whether there is something left that an idle node would take that holds these models."""
        asking = self._market.asking(node, held)
        full = frozenset(str(owner) for owner, left in self._room.items() if left <= 0)
        holders, rounds = self._market.crowd.holders, self._market.rounds
        choice = scheduling.choose(asking, self._queues, holders, now, rounds=rounds, full=full)
        if choice is None:
            return False
        owner = self._market.jobs[choice.job_id].row.owner_id
        if owner in self._room:
            self._room[owner] -= 1
        self._left[choice.job_id] -= 1
        if not self._left[choice.job_id]:
            self._queues.remove(self._facts[choice.job_id])
        return True


def of(node: Node, since: float = 0.0, *, young: bool = False) -> Market:
    """The market that the node takes from, as it was lately and not before the monotonic instant `since`.

    `young`: as it was a tenth of a second ago at most; longer if reading it takes long.
    """
    if since or young:
        crowd.of(node.resource_id, young=True)
    # What was read before the bell rang may lack what it was rung for.
    return _markets.get((node.resource_id, node.site_id), max(since, wakeups.WORK.rung_at), young=young)


def _read(place: tuple[str, str]) -> Market:
    resource, site = place
    known, now = crowd.of(resource), timezone.now()
    jobs: dict[str, OpenJob] = {}
    for row in _open_shares(resource, site, now):
        job = jobs.setdefault(str(row[6]), OpenJob(Columns._make(row[6:])))
        job.shares.append(_share(row[:6], job.row, known, now))
    owners = {job.row.owner_id for job in jobs.values()}
    costs = estimates.of({job.row.model_id: job.row.renderer for job in jobs.values()})
    limited = quotas.limited(owners)
    has_room = loading.has_room(Site.objects.get(pk=site), now)
    return Market(known, jobs, costs, fairness.rounds(owners), limited, dict(quotas.room(limited)), has_room, now)


_markets: Kept[tuple[str, str], Market] = Kept(_read)


def _open_shares(resource: str, site: str, now: datetime) -> Iterator[tuple[Any, ...]]:
    """The most urgent tiles that the site may take, of each owner the oldest.

    What it may not take never crowds them out, nor do the many jobs of an owner those of the others.
    """
    rank = Case(*(When(job__priority=name, then=rank) for rank, name in enumerate(PRIORITIES)), default=0)
    age = ("job__created_at", "start", "id")
    of_owner = Window(RowNumber(), partition_by=("job__owner", "job__priority"), order_by=age)
    shares = (
        JobShare.objects.filter(
            Q(site=None) | Q(site=site),
            Q(job__site_index="") | Q(job__site_index__contains=f"|{site}|"),
            job__state__in=JOB_OFFERED,
            job__resource=resource,
            cursor__lt=F("stop"),
        )
        .exclude(quarantine.out_of_reach(now, resource, site))
        .annotate(of_owner=of_owner)
        .order_by(rank.desc(), "of_owner", *age)
    )
    own = ("id", "site", "cursor", "stop", "at_most", "failed_on")
    return iter(shares.values_list(*own, *_COLUMNS)[:_CANDIDATES])


def _share(row: tuple[Any, ...], job: Columns, known: Crowd, now: datetime) -> OpenShare:
    id, site, cursor, stop, at_most, failed_on = row
    sites = [site] if site else job.site_ids
    unable = quarantine.tried(job.load_failures, now) if job.load_failures else []
    return OpenShare(id, site, cursor, stop, at_most, known.refused(failed_on, sites) | known.refused(unable, sites))
