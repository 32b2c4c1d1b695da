"""The facts that the autoscaler plans by: what each resource is asked for, has, and may have; few queries for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F, Q, Sum

from rrm.domain import capabilities, tiling
from rrm.domain.autoscaling import Demand, History, Limits, Phase, Pool, SiteRoom, SupplyNode, Work, lifetimes
from rrm.domain.states import JOB_OFFERED, NODE_LEAVING, NODE_LIVE, NODE_STARTING, SESSION_OPEN, LeaseState, NodeState
from rrm.farm import eligible, estimates, preloading, quotas
from rrm.farm.models import HeldModel, Job, JobShare, Lease, Node, Resource, Session, Site

_FOR_EVER = timedelta(days=36500)
_LATELY = timedelta(hours=1)
_OF_JOB = (
    *("owner", "resource", "model__renderer", "site_ids", "requires_index"),
    *("tile_size", "supersample", "adaptive"),
)
_UNSURE = Q(state__in=NODE_STARTING) & ~Q(site__problem="")
"""What a site out of reach was asked for may never come: others may be asked for it meanwhile."""
_OF_NODE = ("resource", "site", "state", "idle_since", "started_at", "ends_at")
_PHASES = {
    NodeState.REQUESTED: Phase.STARTING,
    NodeState.SUBMITTED: Phase.STARTING,
    NodeState.IDLE: Phase.IDLE,
    NodeState.BUSY: Phase.BUSY,
    NodeState.BOOKED: Phase.BUSY,
    NodeState.DRAINING: Phase.LEAVING,
    NodeState.STOPPING: Phase.LEAVING,
}


def survey(resources: Sequence[Resource], now: datetime) -> list[Pool]:
    """What is known of each of these resources, which have their placements with the sites."""
    work, supply, held_models = _Work.of(now), _supply(), _held()
    sessions, preloads, hit_rates = _sessions(), preloading.wanted(now), _hit_rates(now)
    taken = _Taken.now()
    pools = []
    for resource in resources:
        held, models = preloads.get(resource.pk, (0, frozenset()))
        demand = Demand(
            work=work.of_resource(resource.pk),
            sessions=sessions.get(resource.pk, 0),
            models=models | work.models(resource.pk),
            preloads=held,
            hit_rate=hit_rates.get(resource.pk),
            lease_seconds=settings.RRM.lease_target.total_seconds(),
        )
        nodes = [_supply_node(node, held_models.get(node.pk, ()), resource) for node in supply.get(resource.pk, ())]
        pools.append(Pool(resource.pk, demand, nodes, _limits(resource, taken, len(nodes)), _history(resource)))
    return pools


def _history(resource: Resource) -> History:
    wanted = tuple((float(at), int(want)) for at, want in resource.demand_history)
    return History(wanted, resource.up_since, resource.surplus_since, resource.launch_failures, resource.retry_at)


@dataclass(frozen=True, slots=True)
class _Work:
    """The rendering that is still to be done, by resource."""

    items: Mapping[str, Sequence[Work]]

    @classmethod
    def of(cls, now: datetime) -> _Work:
        offered = {job.pk: job for job in _offered(now)}
        costs = estimates.of({job.model_id: job.model.renderer for job in offered.values()})
        waiting, running, offers = _tiles_waiting(), _tiles_running(now), eligible.offers()
        allowances = _Allowances.of({job.owner_id for job in offered.values()})
        items: dict[str, list[Work]] = {}
        for job_id, site in sorted(waiting.keys() | running.keys(), key=lambda key: (str(key[0]), key[1] or "")):
            if job := offered.get(job_id):
                named = [site] if site else job.site_ids
                sites = capabilities.able(named, job.requires, offers.get(job.resource_id, {}))
                machines = estimates.machines_at(sites)
                speed = costs.pixel_seconds(job.model_id, machines)
                samples = tiling.samples(job.tile_size**2, job.supersample, adaptive=job.adaptive)
                tiles, age = running.get((job_id, site), (0, 0.0))
                queued = waiting.get((job_id, site), 0)
                seconds = samples * speed * queued + max(0.0, samples * speed * tiles - age)
                load = costs.load_seconds(job.model_id, machines)
                seconds, ranges = allowances.take(job, sites, seconds, queued + tiles)
                items.setdefault(job.resource_id, []).append(Work(seconds, ranges, sites, str(job.model_id), load))
        return cls(items)

    def of_resource(self, resource: str) -> tuple[Work, ...]:
        return tuple(self.items.get(resource, ()))

    def models(self, resource: str) -> frozenset[str]:
        return frozenset(item.model for item in self.items.get(resource, ()))


@dataclass(frozen=True, slots=True)
class _Allowances:
    """What the nodes that owners may have can do within the drain time; more work of theirs wants no further node.

    Each resource and choice of sites has its own: which of them has room is not known here.
    """

    limits: Mapping[int, int]
    left: dict[tuple[int, str, frozenset[str] | None], tuple[float, int]]

    @classmethod
    def of(cls, owners: Collection[int]) -> _Allowances:
        return cls(quotas.limited(owners), {})

    def take(self, job: Job, sites: frozenset[str] | None, seconds: float, ranges: int) -> tuple[float, int]:
        """As much of the work as wants nodes: seconds, and ranges."""
        most = self.limits.get(job.owner_id)
        if most is None:
            return seconds, ranges
        key = (job.owner_id, job.resource_id, sites)
        time, nodes = self.left.get(key, (most * settings.RRM.drain_target.total_seconds(), most))
        taken = min(seconds, time), min(ranges, nodes)
        self.left[key] = (time - taken[0], nodes - taken[1])
        return taken


def _offered(now: datetime) -> Iterable[Job]:
    """Jobs with work that could be done: what nobody may load at present wants no node."""
    jobs = Job.objects.filter(state__in=JOB_OFFERED).exclude(model__quarantined_until__gt=now)
    return jobs.select_related("model").only(*_OF_JOB)


def _tiles_waiting() -> Mapping[tuple[UUID, str | None], int]:
    """Tiles of each job that no node has, by the site whose share they are (None: any)."""
    shares = JobShare.objects.filter(job__state__in=JOB_OFFERED, cursor__lt=F("stop")).order_by()
    sums = shares.values_list("job", "site").annotate(tiles=Sum(F("stop") - F("cursor")))
    return {(job, site): tiles for job, site, tiles in sums}


def _tiles_running(now: datetime) -> Mapping[tuple[UUID, str | None], tuple[int, float]]:
    """The same of those that nodes have, with the seconds that they have had them."""
    active = Lease.objects.filter(state=LeaseState.ACTIVE, is_copy=False, job__state__in=JOB_OFFERED).order_by()
    found: dict[tuple[UUID, str | None], tuple[int, float]] = {}
    for job, site, start, stop, since in active.values_list("job", "share__site", "start", "stop", "created_at"):
        tiles, age = found.get((job, site), (0, 0.0))
        found[job, site] = (tiles + stop - start, age + max(0.0, (now - since).total_seconds()))
    return found


def _sessions() -> Mapping[str, int]:
    """Sessions that have a shared node, or wait for one; those with a node of their own have what they need."""
    opened = Session.objects.filter(state__in=SESSION_OPEN, opened_at__isnull=False, overrides={})
    shared = opened.exclude(node__reserved_for__isnull=False).order_by()
    return dict(shared.values_list("resource").annotate(Count("pk")))


def _hit_rates(now: datetime) -> Mapping[str, float]:
    """The part of the leases of present and recent jobs that found their model loaded."""
    recent = Job.objects.filter(Q(state__in=JOB_OFFERED) | Q(finished_at__gt=now - _LATELY)).order_by()
    sums = recent.values_list("resource").annotate(hits=Sum("warm_hits"), misses=Sum("loads"))
    return {resource: hits / (hits + misses) for resource, hits, misses in sums if hits + misses}


def _supply() -> Mapping[str, Sequence[Node]]:
    # What was started for one session comes and goes with it.
    shared = Node.objects.filter(state__in=NODE_LIVE, reserved_for=None).exclude(_UNSURE)
    found: dict[str, list[Node]] = {}
    for node in shared.only(*_OF_NODE):
        found.setdefault(node.resource_id, []).append(node)
    return found


def _held() -> Mapping[UUID, Sequence[tuple[UUID, bool]]]:
    """The models that each node holds, and whether they are pinned."""
    found: dict[UUID, list[tuple[UUID, bool]]] = {}
    held = HeldModel.objects.filter(node__state__in=NODE_LIVE).order_by()
    for node, model, is_pinned in held.values_list("node", "model", "model__pinned"):
        found.setdefault(node, []).append((model, is_pinned))
    return found


def _supply_node(node: Node, held: Collection[tuple[UUID, bool]], resource: Resource) -> SupplyNode:
    ending: dict[str, Any] = {}
    if node.ends_at and node.started_at:
        points = lifetimes.turning_points(node.started_at, node.ends_at, _start_time(resource))
        ending = dict(zip(("replace_at", "retire_at"), points, strict=True))
    return SupplyNode(
        id=str(node.pk),
        site=node.site_id,
        phase=_PHASES[NodeState(node.state)],
        idle_since=node.idle_since,
        models=frozenset(str(model) for model, _ in held),
        pinned=any(is_pinned for _, is_pinned in held),
        booked=node.state == NodeState.BOOKED,
        **ending,
    )


@dataclass(frozen=True, slots=True)
class _Taken:
    """How many nodes of all resources each site has, those that leave among them, and each resource at all sites."""

    sites: Counter[str]
    leaving: Counter[str]
    resources: Counter[str]
    passing: Counter[str]
    """Of those outside the plan of a resource, how many leave or may never come."""

    @classmethod
    def now(cls) -> _Taken:
        found = cls(Counter(), Counter(), Counter(), Counter())
        live = Node.objects.filter(state__in=NODE_LIVE).order_by().values_list("site", "resource")
        leaving = Q(state__in=NODE_LEAVING)
        own = leaving & Q(reserved_for__isnull=False)
        counts = {
            "all": Count("id"),
            "going": Count("id", filter=leaving),
            "passing": Count("id", filter=own | _UNSURE),
        }
        for site, resource, count, going, passing in live.annotate(**counts):
            found.sites[site] += count
            found.leaving[site] += going
            found.resources[resource] += count
            found.passing[resource] += passing
        return found


def _limits(resource: Resource, taken: _Taken, supply: int) -> Limits:
    sites = [place.site for place in resource.placements.all() if place.site.enabled and not place.site.problem]
    return Limits(
        min_nodes=resource.min_nodes,
        max_nodes=resource.max_nodes,
        sites=tuple(_site_room(resource, site, taken) for site in sites),
        taken=max(taken.resources[resource.pk] - supply, 0),  # the two were read one after the other
        passing=taken.passing[resource.pk],
        standby=resource.standby,
        enabled=resource.enabled,
        idle_timeout=_idle_timeout(resource),
        start_time=_start_time(resource),
        drain_time=settings.RRM.drain_target,
        period=settings.RRM.autoscale_period,
        gives_way=gives_way(resource),
    )


def _site_room(resource: Resource, site: Site, taken: _Taken) -> SiteRoom:
    over = taken.sites[site.pk] - taken.leaving[site.pk] - site.max_nodes
    return SiteRoom(site.pk, site.max_nodes - taken.sites[site.pk], resource.machines_at(site), max(over, 0))


def _start_time(resource: Resource) -> timedelta | None:
    return None if resource.start_seconds is None else timedelta(seconds=resource.start_seconds)


def gives_way(resource: Resource) -> bool:
    """Whether its idle nodes may make place for another resource's."""
    return _idle_timeout(resource) != _FOR_EVER


def _idle_timeout(resource: Resource) -> timedelta | None:
    """None lets the plan choose. Whether an external renderer is in use is not known: it stays unless that is set."""
    if resource.idle_timeout is not None:
        return timedelta(seconds=resource.idle_timeout)
    return _FOR_EVER if resource.renderer == Resource.Renderer.EXTERNAL else None
