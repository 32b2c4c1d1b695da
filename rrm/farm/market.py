"""The market of a site: which tiles its nodes may take, and what one decision goes by.

Threads share it for a moment (`Kept`): a range that turns out to be taken by somebody else is a StateConflict, and then
it is read anew. A node that would have nothing to do, or to load a model, goes by what was read a tenth of a second ago
at most; if reading takes long, somewhat more. What comes later rings the bell, or is found by the next look (`lobby`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Case, F, Q, QuerySet, When, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from rrm.domain import capabilities, scheduling, tiling
from rrm.domain.facts import Holders, JobFacts, NodeFacts, is_pressed
from rrm.domain.orders import PRIORITIES
from rrm.domain.queues import Queues
from rrm.domain.states import JOB_OFFERED, JobState
from rrm.farm import crowd, eligible, estimates, fairness, loading, quarantine, quotas, wakeups
from rrm.farm.crowd import Crowd
from rrm.farm.kept import Kept
from rrm.farm.models import JobShare, Node, Quota, ResourceSite, Site

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
    requires_index: str
    renderer: str
    load_seconds: float | None
    load_failures: list[tuple[str, float]]
    quarantined_until: datetime | None


_OF_MODEL = ("renderer", "load_seconds", "load_failures", "quarantined_until")
_OF_SHARE = ("id", "site", "cursor", "stop", "at_most", "failed_on")
_OWNER = len(_OF_SHARE) + Columns._fields.index("owner_id")
_COLUMNS = [f"job__model__{name}" if name in _OF_MODEL else f"job__{name}" for name in Columns._fields]


@dataclass(slots=True)
class OpenJob:
    """A job with tiles that the site's nodes may take."""

    row: Columns
    sites: frozenset[str] | None
    """Where it may be rendered; None is anywhere."""
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


class Views:
    """What waits as each class of machines sees it: to load a model, or to do a lease, takes each its own time."""

    def __init__(self, facts: Callable[[str], dict[str, JobFacts]]) -> None:
        self._facts = facts
        self._known: dict[str, tuple[dict[str, JobFacts], Queues]] = {}

    def of(self, hardware: str) -> Queues:
        if hardware not in self._known:
            facts = self._facts(hardware)
            self._known[hardware] = facts, Queues(facts.values())
        return self._known[hardware][1]

    def claim(self, job: str, seconds: float, now: datetime) -> None:
        for facts, queues in self._known.values():
            if job in queues:
                queues.claim(facts[job], seconds, now)

    def remove(self, job: str) -> None:
        for facts, queues in self._known.values():
            if job in queues:
                queues.remove(facts[job])


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
    holders: Holders
    """As the crowd has them, with what nodes hold that failed on these jobs."""
    _views: Views = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._views = Views(self.facts)

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
            hardware=node.hardware,
            rank=self.crowd.rank(node.site_id),
            free_since=node.idle_since,
        )

    def choose(self, asking: NodeFacts, now: datetime) -> scheduling.Choice | None:
        """What the node should take, by what is known here."""
        with self._lock:
            queues = self._views.of(asking.hardware)
            return scheduling.choose(asking, queues, self.holders, now, rounds=self.rounds, full=self.full)

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
            if any(other.left > 0 for other in job.shares):
                self._views.claim(id, len(tiles) * self._tile_seconds(job), now)
            else:
                self._views.remove(id)

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

    def facts(self, hardware: str) -> dict[str, JobFacts]:
        """The jobs with tiles to give out, as a class of machines sees them."""
        jobs = self.jobs.items()
        return {id: self._facts_of(job, hardware) for id, job in jobs if any(share.left > 0 for share in job.shares)}

    def _tile_seconds(self, job: OpenJob, hardware: str | None = None) -> float:
        return job.samples * self.costs.pixel_seconds(job.row.model_id, hardware)

    def _facts_of(self, job: OpenJob, hardware: str) -> JobFacts:
        """What is left is for whoever may take it; a load, and one lease, is what the asking node would have."""
        row, tile_seconds = job.row, self._tile_seconds(job)
        bound_to = frozenset(share.site for share in job.shares if share.site) or job.sites or frozenset()
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
            load_seconds=self.costs.load_seconds(row.model_id, hardware),
            lease_seconds=max(settings.RRM.lease_target.total_seconds(), self._tile_seconds(job, hardware)),
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
    """Who would take something if nodes asked one after the other at `now`, and each took a tile of what it chose."""

    def __init__(self, market: Market, now: datetime) -> None:
        self._market, self._now = market, now
        self._room = dict(market.room)
        self._left = {id: sum(share.left for share in job.shares) for id, job in market.jobs.items()}
        self._views = Views(self._facts)
        self._sittings: dict[str, scheduling.Sitting] = {}

    def _facts(self, hardware: str) -> dict[str, JobFacts]:
        return {id: job for id, job in self._market.facts(hardware).items() if self._left[id] > 0}

    def _sitting(self, hardware: str) -> scheduling.Sitting:
        if hardware not in self._sittings:
            queues, known = self._views.of(hardware), self._market
            self._sittings[hardware] = scheduling.Sitting(queues, known.holders, self._now, rounds=known.rounds)
        return self._sittings[hardware]

    def takes(self, node: Node, held: Collection[str]) -> bool:
        """Whether there is something left that an idle node would take that holds these models."""
        asking = self._market.asking(node, held)
        full = frozenset(str(owner) for owner, left in self._room.items() if left <= 0)
        choice = self._sitting(asking.hardware).choose(asking, full)
        if choice is None:
            return False
        owner = self._market.jobs[choice.job_id].row.owner_id
        if owner in self._room:
            self._room[owner] -= 1
        self._left[choice.job_id] -= 1
        if not self._left[choice.job_id]:
            self._views.remove(choice.job_id)
        return True


def of(node: Node, since: float = 0.0, *, young: bool = False) -> Market:
    """The market that the node takes from, as it was lately and not before the monotonic instant `since`.

    `young`: as it was a tenth of a second ago at most; longer if reading it takes long.
    """
    # What was read before the bell rang may lack what it was rung for.
    return _markets.get((node.resource_id, node.site_id), max(since, wakeups.WORK.rung_at), young=young)


def _read(place: tuple[str, str]) -> Market:
    resource, site = place
    # Young, as whoever asks for a young market asks for all of it.
    known, now = crowd.of(resource, young=True), timezone.now()
    jobs: dict[str, OpenJob] = {}
    others = ResourceSite.objects.filter(resource=resource).values("site")
    places = Site.objects.filter(Q(pk=site) | Q(pk__in=others)).in_bulk()
    offers = {id: place.capabilities for id, place in places.items()}
    for row in _candidates(resource, places[site], now):
        columns = Columns._make(row[len(_OF_SHARE) :])
        requires = capabilities.tags_of(columns.requires_index)
        able = capabilities.able(columns.site_ids, requires, offers)
        job = jobs.setdefault(str(columns.id), OpenJob(columns, able))
        job.shares.append(_share(row[: len(_OF_SHARE)], job, known, now))
    owners = {job.row.owner_id for job in jobs.values()}
    costs = estimates.of({job.row.model_id: job.row.renderer for job in jobs.values()})
    limited = quotas.limited(owners)
    has_room = loading.has_room(places[site], now)
    room = dict(quotas.room(limited))
    return Market(known, jobs, costs, fairness.rounds(owners), limited, room, has_room, now, _holders(known, jobs))


def _holders(known: Crowd, jobs: Mapping[str, OpenJob]) -> Holders:
    failed = [(job.row.model_id, node) for job in jobs.values() for share in job.shares for node in share.refused]
    if not failed:
        return known.holders
    models, nodes = ({each[column] for each in failed} for column in (0, 1))
    return replace(known.holders, failing=crowd.failing(nodes, models))


_markets: Kept[tuple[str, str], Market] = Kept(_read)


def _candidates(resource: str, site: Site, now: datetime) -> list[tuple[Any, ...]]:
    """The most urgent tiles that the site may take, of each owner the oldest.

    What it may not take never crowds them out, nor do the many jobs of an owner those of the others: where there are
    too many, those of owners at their limit of nodes have places of their own, as few nodes may take them.
    """
    shares = _open_shares(resource, site, now)
    first = list(shares[:_CANDIDATES])
    nodes = _at_limit() if len(first) == _CANDIDATES else {}
    if not any(row[_OWNER] in nodes for row in first):
        return first
    served = [owner for owner, most in nodes.items() if most > 0]
    theirs = shares.filter(job__owner__in=served)
    return [*theirs[:_CANDIDATES], *shares.exclude(job__owner__in=nodes)[:_CANDIDATES]]


def _at_limit() -> Mapping[int, int]:
    """All owners for whom no further node may work, and how many may; two queries."""
    rows = Quota.objects.filter(max_nodes__isnull=False).values_list("owner", "max_nodes")
    limits = {owner: most for owner, most in rows if most is not None}
    return {owner: limits[owner] for owner, left in quotas.room(limits).items() if left <= 0}


def _open_shares(resource: str, site: Site, now: datetime) -> QuerySet[JobShare, tuple[Any, ...]]:
    """In the order of classes, and in a class by turns of their owners, the oldest first."""
    rank = Case(*(When(job__priority=name, then=rank) for rank, name in enumerate(PRIORITIES)), default=0)
    age = ("job__created_at", "start", "id")
    of_owner = Window(RowNumber(), partition_by=("job__owner", "job__priority"), order_by=age)
    shares = (
        JobShare.objects.filter(
            Q(site=None) | Q(site=site),
            eligible.at(site),
            job__state__in=JOB_OFFERED,
            job__resource=resource,
            cursor__lt=F("stop"),
        )
        .exclude(quarantine.out_of_reach(now, resource, site.pk))
        .annotate(of_owner=of_owner)
        .order_by(rank.desc(), "of_owner", *age)
    )
    return shares.values_list(*_OF_SHARE, *_COLUMNS)


def _share(row: tuple[Any, ...], job: OpenJob, known: Crowd, now: datetime) -> OpenShare:
    id, site, cursor, stop, at_most, failed_on = row
    sites = [site] if site else job.sites or ()
    unable = quarantine.tried(job.row.load_failures, now) if job.row.load_failures else []
    return OpenShare(id, site, cursor, stop, at_most, known.refused(failed_on, sites) | known.refused(unable, sites))
