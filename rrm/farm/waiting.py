"""Why a job waits, in sentences that its owner understands: the facts for `domain.reasons`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Case, Count, Exists, F, OuterRef, When, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from rrm.domain import reasons, tiling
from rrm.domain.facts import is_done_before
from rrm.domain.orders import PRIORITIES
from rrm.domain.states import (
    JOB_OFFERED,
    NODE_STARTING,
    NODE_TAKING,
    NODE_WORKING,
    JobState,
    LeaseState,
    NodeState,
)
from rrm.farm import estimates, lines, loading, quarantine, quotas, supplies
from rrm.farm.lines import Line
from rrm.farm.models import Block, Job, JobShare, Lease
from rrm.farm.supplies import SeenNode, Supply

_IDLE, _BOOKED = frozenset({NodeState.IDLE}), frozenset({NodeState.BOOKED})
_TOLD_APART = 200  # jobs of a resource, where it is told how many wait for what
_OF_WAITING = (
    *("resource", "owner", "site_ids", "requires_index", "deadline", "state"),
    *("tile_size", "supersample", "adaptive"),
    *("model__renderer", "model__load_seconds", "model__quarantined_until", "model__load_failures"),
    *(f"resource__{name}" for name in ("enabled", "renderer", "max_nodes", "launch_failures", "retry_at", "reason")),
)


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


@dataclass
class _Farm:
    """What all the jobs of one answer wait for."""

    now: datetime
    supply: Mapping[str, Supply]
    lines: Mapping[str, Line]
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
        working = supply.at(sites, NODE_WORKING) - self._failed(job, supply, sites)
        holders = (supply.holders.get(job.model_id, set()) & working) - supply.silent
        free, ending, full = self._idle(job, supply, supply.at(sites, _IDLE) & working, holders)
        return reasons.Waiting(
            resource=resource.pk,
            now=self.now,
            enabled=resource.enabled,
            bound_to=bound_to,
            sites=sites,
            unmet=job.requires if places and not sites else (),
            problems={site: problem for site, problem in supply.problems.items() if site in sites},
            crowded=sites - supply.problems.keys() <= supply.crowded,
            starting=len(supply.at(sites, NODE_STARTING)),
            working=len(working),
            free=len(free),
            booked=len(supply.at(sites, _BOOKED)),
            ending=len(ending),
            silent=len(working & supply.silent),
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
            ahead=line.ahead(job.pk, supply.sites_of(working)) if in_turn else (0, 0),
            blocked=[_told(block) for block in self.blocks if _concerns(block, sites, resource.renderer)],
            failures=resource.launch_failures,
            retry_at=resource.retry_at,
            launching=resource.reason,
            deadline=job.deadline,
        )

    def _places(self, job: Job, supply: Supply) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """The sites that the tiles not given out are bound to, or else the job, if any; those there are; the able."""
        bound = frozenset(site for site, _ in self.shares.get(job.pk, ()) if site) or frozenset(job.site_ids)
        return bound, *supply.able(bound, job.requires)

    def _failed(self, job: Job, supply: Supply, sites: frozenset[str]) -> set[str]:
        """The nodes that leave all of it to others, since they failed on its tiles or could not load its model."""
        failed = [
            self._failed_on(failed_on, supply, frozenset({site}) if site else sites, job)
            for site, failed_on in self.shares.get(job.pk, ())
        ]
        return set.intersection(*failed) if failed else set()

    def _failed_on(self, names: Collection[str], supply: Supply, sites: frozenset[str], job: Job) -> set[str]:
        unable = quarantine.tried(job.model.load_failures, self.now)
        if not names and not unable:
            return set()
        takers = supply.at(sites, NODE_TAKING)
        failed = [{id for id in takers if supply.nodes[id].name in each} for each in (names, unable)]
        return set().union(*(found for found in failed if len(found) < len(takers)))

    def _idle(
        self, job: Job, supply: Supply, idle: frozenset[str], holders: Set[str]
    ) -> tuple[frozenset[str], frozenset[str], list[str]]:
        """The idle nodes that may begin the job, those that end too soon, and the sites where others may not load."""
        heard, nodes = idle - supply.silent, supply.nodes
        mortal = heard & supply.mortal
        ending = frozenset(id for id in mortal if not self._is_in_time(job, nodes[id], is_held=id in holders))
        ready, full = heard - ending, self.full if loading.counts(job.model.load_seconds) else ()
        unable = {id for id in ready - holders if nodes[id].site in full} if full else set[str]()
        return ready - unable, ending, sorted({nodes[id].site for id in unable})

    def _is_in_time(self, job: Job, node: SeenNode, *, is_held: bool) -> bool:
        """Whether the idle node lives until it has loaded the model, if it must, and done one lease of the job."""
        if node.ends_at is None:
            return True
        hardware = f"{node.site}/{node.cores}"
        samples = tiling.samples(job.tile_size**2, job.supersample, adaptive=job.adaptive)
        load = 0.0 if is_held else self.costs.load_seconds(job.model_id, hardware)
        lease = max(_lease_seconds(), samples * self.costs.pixel_seconds(job.model_id, hardware))
        return is_done_before(node.ends_at, timedelta(seconds=load + lease), self.now)

    def _holder_seconds(self, job: Job, line: Line, holders: int) -> float:
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
    supply = supplies.of(resources, now)
    idle = {node.site for each in supply.values() for node in each.nodes.values() if node.state == NodeState.IDLE}
    return _Farm(
        now=now,
        supply=supply,
        lines=lines.of(supply, costs),
        shares=_open_shares(jobs),
        full=loading.full(idle, now) if idle else (),
        costs=costs,
        limits=limits,
        at_work=quotas.nodes_of(limits) if limits else {},
        blocks=list(Block.objects.filter(until__gt=now)),
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
