"""Why a job waits, in sentences that its owner understands: the facts for `domain.reasons`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Sum, When, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from rrm.domain import reasons, tiling
from rrm.domain.capabilities import lacking
from rrm.domain.facts import RANK, is_done_before
from rrm.domain.orders import PRIORITIES
from rrm.domain.states import (
    JOB_OFFERED,
    NODE_LIVE,
    NODE_STARTING,
    NODE_TAKING,
    NODE_WORKING,
    JobState,
    LeaseState,
    NodeState,
)
from rrm.farm import estimates, fairness, hearing, loading, quarantine, quotas
from rrm.farm.models import Block, HeldModel, Job, JobShare, Lease, Node, ResourceSite

_TOLD_APART = 200  # jobs of a resource, where it is told how many wait for what
_OF_WAITING = (
    *("resource", "owner", "site_ids", "requires_index", "deadline", "state"),
    *("tile_size", "supersample", "adaptive"),
    *("model__renderer", "model__load_seconds", "model__quarantined_until", "model__load_failures"),
    *(f"resource__{name}" for name in ("enabled", "renderer", "max_nodes", "launch_failures", "retry_at", "reason")),
)

_OF_SITE = ("site", "site__capabilities")


def pending_reason(job: Job) -> str:
    """Why nothing of the job is being rendered at this moment; empty when it is, or is finished."""
    return pending_reasons([job])[job.pk]


def pending_reasons(jobs: Sequence[Job]) -> dict[UUID, str]:
    """`pending_reason` of many jobs in a constant number of queries."""
    found = {job.pk: job.reason or "The job is paused." if job.state == JobState.PAUSED else "" for job in jobs}
    offered = [job for job in jobs if job.state in JOB_OFFERED]
    if not offered:
        return found
    active = set(Lease.objects.filter(job__in=offered, state=LeaseState.ACTIVE).values_list("job", flat=True))
    waiting = [job for job in offered if job.pk not in active]
    if waiting:
        farm = _survey(waiting, timezone.now())
        found |= {job.pk: reasons.why(farm.case(job)) for job in waiting}
    return found


def summaries(resources: Sequence[str]) -> dict[str, str]:
    """How many jobs of each resource wait for what; nothing of those without. A constant number of queries."""
    rank = Case(*(When(priority=name, then=rank) for rank, name in enumerate(PRIORITIES)), default=0)
    active = Lease.objects.filter(job=OuterRef("pk"), state=LeaseState.ACTIVE)
    offered = Job.objects.filter(~Exists(active), resource__in=resources, state__in=JOB_OFFERED)
    total = dict(offered.order_by().values_list("resource").annotate(jobs=Count("pk")))
    turn = Window(RowNumber(), partition_by="resource", order_by=[rank.desc(), "created_at", "id"])
    places = dict(offered.annotate(place=turn).filter(place__lte=_TOLD_APART).values_list("pk", "place"))
    if not places:
        return {}
    found = list(Job.objects.filter(pk__in=list(places)).select_related("resource", "model").only(*_OF_WAITING))
    farm = _survey(found, timezone.now())
    cases: dict[str, list[reasons.Waiting]] = {}
    for job in sorted(found, key=lambda job: places[job.pk]):
        is_first = job.resource_id not in cases
        cases.setdefault(job.resource_id, []).append(farm.case(job, in_turn=is_first))
    # More may have come between the two looks.
    return {
        resource: reasons.why_many(first, max(total.get(resource, 0), len(first))) for resource, first in cases.items()
    }


class _Node(NamedTuple):
    """A node that is there or on its way: columns by their names."""

    site: str
    state: str
    name: str
    cores: int
    ends_at: datetime | None
    last_heartbeat: datetime | None
    reserved_for: UUID | None


@dataclass
class _Supply:
    """What a resource has: sites where nodes may run or do, what is wrong with them, and its nodes."""

    sites: dict[str, list[str]] = field(default_factory=dict)
    """Site → what it can do."""
    problems: dict[str, str] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)
    """Sites without room for one more node."""
    nodes: dict[UUID, _Node] = field(default_factory=dict)
    """Those reserved for a session that could take work count as booked."""
    holders: dict[UUID, set[UUID]] = field(default_factory=dict)
    """Model → the nodes that hold it and take work."""
    pinned: set[UUID] = field(default_factory=set)
    """Those of them that hold a pinned model."""

    def at(self, sites: Collection[str], *states: str) -> set[UUID]:
        return {id for id, node in self.nodes.items() if node.site in sites and node.state in states}

    def kept_elsewhere(self, sites: Collection[str]) -> list[str]:
        """The idle nodes at other sites that stay for what they hold: it is pinned."""
        kept = (node for id, node in self.nodes.items() if id in self.pinned and node.state == NodeState.IDLE)
        return sorted(f"{node.name} at {node.site}" for node in kept if node.site not in sites)

    def silent(self, nodes: Collection[UUID], now: datetime) -> set[UUID]:
        """Those of the nodes that are idle, as it seems, and were not heard lately."""
        idle = {id: node.last_heartbeat for id in nodes if (node := self.nodes[id]).state == NodeState.IDLE}
        return {id for id, heard_at in idle.items() if heard_at is None or heard_at <= hearing.since(now)}


@dataclass
class _Line:
    """The jobs of a resource with tiles to give out, in their order, and how much work each model has."""

    turns: dict[UUID, tuple[int, int, datetime, UUID]] = field(default_factory=dict)
    seconds: dict[UUID, float] = field(default_factory=dict)

    def ahead(self, job: UUID) -> tuple[int, int]:
        """How many are of a more urgent class, and how many of its own come first."""
        mine = self.turns.get(job)
        if mine is None:
            return 0, 0
        classes = [turn[0] for turn in self.turns.values() if turn < mine]
        same = classes.count(mine[0])
        return len(classes) - same, same


@dataclass
class _Farm:
    """What all the jobs of one answer wait for."""

    now: datetime
    supply: Mapping[str, _Supply]
    lines: Mapping[str, _Line]
    shares: Mapping[UUID, Sequence[tuple[str | None, Collection[str]]]]
    """Job → of the tiles not given out, the site that some are bound to, and the nodes that failed on them."""
    full: Collection[str]
    """Sites where no load may begin."""
    costs: estimates.Estimates
    limits: Mapping[int, int]
    at_work: Mapping[int, int]
    blocks: Sequence[Block]

    def case(self, job: Job, *, in_turn: bool = True) -> reasons.Waiting:
        """The facts of a job; `in_turn`: also which others come before it."""
        resource, supply, line = job.resource, self.supply[job.resource_id], self.lines[job.resource_id]
        bound_to, places, sites = self._places(job, supply)
        working, silent, holders = self._at_work(job, supply, sites)
        free, ending, full = self._idle(job, supply, working - silent, holders)
        ahead = line.ahead(job.pk) if in_turn else (0, 0)
        return reasons.Waiting(
            resource=resource.pk,
            now=self.now,
            enabled=resource.enabled,
            bound_to=bound_to,
            sites=sites,
            unmet=job.requires if places and not sites else (),
            problems={site: problem for site, problem in supply.problems.items() if site in sites},
            crowded=sites - supply.problems.keys() <= supply.crowded,
            starting=len(supply.at(sites, *NODE_STARTING)),
            working=len(working),
            free=len(free),
            booked=len(supply.at(sites, NodeState.BOOKED)),
            ending=len(ending),
            silent=len(silent),
            full=full,
            pinned=supply.kept_elsewhere(sites),
            most=resource.max_nodes if len(supply.nodes) >= resource.max_nodes else None,
            holders=len(holders),
            free_holders=len(holders & free),
            holder_seconds=self._holder_seconds(job, line, len(holders)),
            load_seconds=self.costs.load_seconds(job.model_id, estimates.machines_at(sites)),
            quarantined_until=job.model.quarantined_until,
            could_not_load=quarantine.could_not_load(job.model, self.now),
            nodes_at_limit=self._nodes_at_limit(job.owner_id),
            more_urgent=ahead[0],
            before=ahead[1],
            blocked=[_told(block) for block in self.blocks if _concerns(block, sites, resource.renderer)],
            failures=resource.launch_failures,
            retry_at=resource.retry_at,
            launching=resource.reason,
            deadline=job.deadline,
        )

    def _places(self, job: Job, supply: _Supply) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """The sites that the tiles not given out are bound to, or else the job, if any; those there are; the able."""
        bound = frozenset(site for site, _ in self.shares.get(job.pk, ()) if site) or frozenset(job.site_ids)
        places = frozenset(bound & supply.sites.keys() if bound else supply.sites)
        return bound, places, frozenset(site for site in places if not lacking(job.requires, supply.sites[site]))

    def _at_work(self, job: Job, supply: _Supply, sites: Collection[str]) -> tuple[set[UUID], set[UUID], set[UUID]]:
        """The nodes that may take the job, now or later; of them those that seem idle and were not heard lately, and
        of the others those that hold its model.
        """
        working = supply.at(sites, *NODE_WORKING) - self._failed(job, supply, sites)
        silent = supply.silent(working, self.now)
        return working, silent, supply.holders.get(job.model_id, set()) & working - silent

    def _failed(self, job: Job, supply: _Supply, sites: Collection[str]) -> set[UUID]:
        """The nodes that leave all of it to others, since they failed on its tiles or could not load its model."""
        failed = [
            self._failed_on(failed_on, supply, [site] if site else sites, job)
            for site, failed_on in self.shares.get(job.pk, ())
        ]
        return set.intersection(*failed) if failed else set()

    def _failed_on(self, names: Collection[str], supply: _Supply, sites: Collection[str], job: Job) -> set[UUID]:
        unable = quarantine.tried(job.model.load_failures, self.now)
        if not names and not unable:
            return set()
        takers = supply.at(sites, *NODE_TAKING)
        failed = [{id for id in takers if supply.nodes[id].name in each} for each in (names, unable)]
        return set().union(*(found for found in failed if len(found) < len(takers)))

    def _idle(
        self, job: Job, supply: _Supply, working: set[UUID], holders: set[UUID]
    ) -> tuple[set[UUID], set[UUID], list[str]]:
        """The idle nodes that may begin the job, those that end too soon, and the sites where others may not load."""
        idle = {id: node for id in working if (node := supply.nodes[id]).state == NodeState.IDLE}
        ending = {id for id, node in idle.items() if not self._is_in_time(job, node, is_held=id in holders)}
        ready = idle.keys() - ending
        unable = {id for id in ready - holders if self._is_full(job, idle[id].site)}
        return ready - unable, ending, sorted({idle[id].site for id in unable})

    def _is_in_time(self, job: Job, node: _Node, *, is_held: bool) -> bool:
        """Whether the idle node lives until it has loaded the model, if it must, and done one lease of the job."""
        if node.ends_at is None:
            return True
        hardware = f"{node.site}/{node.cores}"
        samples = tiling.samples(job.tile_size**2, job.supersample, adaptive=job.adaptive)
        load = 0.0 if is_held else self.costs.load_seconds(job.model_id, hardware)
        lease = max(_lease_seconds(), samples * self.costs.pixel_seconds(job.model_id, hardware))
        return is_done_before(node.ends_at, timedelta(seconds=load + lease), self.now)

    def _is_full(self, job: Job, site: str) -> bool:
        return site in self.full and loading.counts(job.model.load_seconds)

    def _holder_seconds(self, job: Job, line: _Line, holders: int) -> float:
        """How long the holders of the model, all of them at work, are busy before they turn to the job's next range."""
        ahead = max(0.0, line.seconds.get(job.model_id, 0.0) - _lease_seconds())
        return _lease_seconds() + ahead / max(holders, 1)

    def _nodes_at_limit(self, owner: int) -> tuple[int, int] | None:
        most, used = self.limits.get(owner), self.at_work.get(owner, 0)
        return (used, most) if most is not None and used >= most else None


def _survey(jobs: Sequence[Job], now: datetime) -> _Farm:
    resources, owners = {job.resource_id for job in jobs}, {job.owner_id for job in jobs}
    costs = estimates.of({job.model_id: job.model.renderer for job in jobs})
    limits = quotas.limited(owners)
    supply = _supply(resources)
    idle = {node.site for each in supply.values() for node in each.nodes.values() if node.state == NodeState.IDLE}
    return _Farm(
        now=now,
        supply=supply,
        lines=_lines(resources, costs),
        shares=_open_shares(jobs),
        full=loading.full(idle, now) if idle else (),
        costs=costs,
        limits=limits,
        at_work=quotas.nodes_of(limits) if limits else {},
        blocks=list(Block.objects.filter(until__gt=now)),
    )


def _supply(resources: set[str]) -> Mapping[str, _Supply]:
    supply = {resource: _Supply() for resource in resources}
    placements = ResourceSite.objects.filter(resource__in=resources, site__enabled=True, site__max_nodes__gt=0)
    room = F("site__max_nodes") - Count("site__nodes", filter=Q(site__nodes__state__in=NODE_LIVE))
    told = ("resource", *_OF_SITE, "site__problem", "room")
    for resource, site, tags, problem, places in placements.annotate(room=room).values_list(*told):
        supply[resource].sites[site] = tags
        if places <= 0:
            supply[resource].crowded.add(site)
        if problem:
            supply[resource].problems[site] = problem
    live = Node.objects.filter(resource__in=resources, state__in=NODE_STARTING | NODE_WORKING)
    for id, resource, tags, *columns in live.values_list("pk", "resource", "site__capabilities", *_Node._fields):
        node = _Node._make(columns)
        if node.state in NODE_TAKING:
            supply[resource].sites[node.site] = tags  # they go on though their site was disabled meanwhile
            if node.reserved_for:
                node = node._replace(state=NodeState.BOOKED)
        supply[resource].nodes[id] = node
    _note_holders(supply)
    return supply


def _note_holders(supply: Mapping[str, _Supply]) -> None:
    held = HeldModel.objects.filter(quarantine.BY_TAKERS, node__resource__in=supply)
    for id, model, resource, pinned in held.values_list("node", "model", "node__resource", "model__pinned"):
        supply[resource].holders.setdefault(model, set()).add(id)
        if pinned:
            supply[resource].pinned.add(id)


def _lines(resources: set[str], costs: estimates.Estimates) -> Mapping[str, _Line]:
    """The jobs of each resource with tiles to give out; models that the answer is not about cost what is usual."""
    lines = {resource: _Line() for resource in resources}
    shares = JobShare.objects.filter(job__resource__in=resources, job__state__in=JOB_OFFERED, cursor__lt=F("stop"))
    rows = list(shares.order_by().values(*_IN_LINE).annotate(tiles=Sum(F("stop") - F("cursor"))))
    turns = fairness.rounds({row["job__owner"] for row in rows})
    for row in rows:
        line = lines[row["job__resource"]]
        rank, turn = RANK[row["job__priority"]], turns.get(str(row["job__owner"]), 0)
        line.turns[row["job"]] = (rank, turn, row["job__created_at"], row["job"])
        pixels = row["tiles"] * row["job__tile_size"] ** 2
        samples = tiling.samples(pixels, row["job__supersample"], adaptive=row["job__adaptive"])
        if (model := row["job__model"]) in costs.renderers:
            line.seconds[model] = line.seconds.get(model, 0.0) + samples * costs.pixel_seconds(model)
    return lines


_IN_LINE = (
    *("job", "job__resource", "job__priority", "job__owner", "job__created_at", "job__model"),
    *("job__tile_size", "job__supersample", "job__adaptive"),
)


def _open_shares(jobs: Sequence[Job]) -> Mapping[UUID, Sequence[tuple[str | None, Collection[str]]]]:
    """Of the tiles not given out, the site that some are bound to, and the names of the nodes that failed on them."""
    found: dict[UUID, list[tuple[str | None, Collection[str]]]] = {}
    shares = JobShare.objects.filter(job__in=jobs, cursor__lt=F("stop")).order_by()
    for job, site, failed_on in shares.values_list("job", "site", "failed_on"):
        found.setdefault(job, []).append((site, failed_on))
    return found


def _lease_seconds() -> float:
    seconds: float = settings.RRM.lease_target.total_seconds()
    return seconds


def _concerns(block: Block, sites: Collection[str], renderer: str) -> bool:
    return block.site_id in sites and block.renderer == renderer


def _told(block: Block) -> str:
    return f"{block.node or block.hostname} at {block.site_id} is blocked: {block.reason}"
