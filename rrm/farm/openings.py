"""Where nodes could be started for people: whole launches for which the autoscaler would find or make room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Min, Q

from rrm.domain import autoscaling, booking, limits
from rrm.domain.states import NODE_LEAVING, NODE_LIVE, NODE_STARTING, LeaseState, NodeState
from rrm.farm import pools
from rrm.farm.models import Lease, Node, Resource, Site

_ENOUGH = 1000  # places at one site: as many as one plan starts
_HOW = (
    "a node to be started at {}",
    "the place of an idle node at {}",
    "a node to be started at {} when one that is leaving has left",
)
_FREE, _SPARE, _LEAVING = range(3)

Opening = tuple[int, float]
"""How a place comes to be free, as an index of `_HOW`, and in how many seconds."""


def of(resource: Resource, rivals: Iterable[tuple[Resource, int]], now: datetime) -> tuple[list[booking.Place], str]:
    """Places for the resource, and why there are no more; rivals are others for which so many nodes are started before.

    The resource has a site that can be used.
    """
    openings = _Openings.now(resource, now)
    for rival, nodes in rivals:
        for _, machines, _ in openings.launches(rival, usable(rival)):
            nodes -= machines
            if nodes <= 0:
                break
    sites, places = usable(resource), list[booking.Place]()
    for site, machines, (how, seconds) in openings.launches(resource, sites):
        place = booking.Place(seconds + start_seconds(resource, site), _HOW[how].format(site.pk))
        places += [place] * machines
        if resource.launch_failures >= autoscaling.FAILURES_ALLOWED - 1:
            return places, f"{resource.launch_failures} starts in a row failed, so one is tried at a time"
    return places, f"{openings.limit(resource, sites)}; {limits.WAY_OUT}"


@dataclass(frozen=True, slots=True)
class _Openings:
    """Places, the soonest first: what each site has room for, and what the maximum of each resource allows."""

    sites: dict[str, list[Opening]]
    resources: dict[str, list[Opening]]
    nodes: int
    """How many the resource has."""

    @classmethod
    def now(cls, resource: Resource, now: datetime) -> _Openings:
        live = Node.objects.filter(state__in=NODE_LIVE).order_by()
        at = Counter(dict(live.values_list("site").annotate(Count("pk"))))
        owned = Counter(dict(live.values_list("resource").annotate(Count("pk"))))
        sites = dict(Site.objects.filter(enabled=True, problem="").values_list("pk", "max_nodes"))
        coming: dict[str, list[Opening]] = {site: [] for site in sites}
        own: dict[str, list[Opening]] = {}
        for site, owner, seconds in _leaving(now):
            coming.setdefault(site, []).append((_LEAVING, seconds))
            own.setdefault(owner, []).append((_LEAVING, seconds))
        for site in _to_spare(resource, sites):
            coming[site].append((_SPARE, settings.RRM.autoscale_period.total_seconds()))
        allowed = dict(Resource.objects.values_list("pk", "max_nodes"))
        return cls(
            {site: _freed(most - at[site], coming[site]) for site, most in sites.items()},
            {id_: _freed(most - owned[id_], own.get(id_, ())) for id_, most in allowed.items()},
            owned[resource.pk],
        )

    def limit(self, resource: Resource, sites: Sequence[Site]) -> str:
        """What allows no launch beyond those that were taken: the resource's maximum, or those of its sites."""
        machines = {site: resource.machines_at(site) for site in sites}
        full = {site: each for site, each in machines.items() if len(self.sites.get(site.pk, [])) < each}
        least = min(machines.values(), default=1)
        if not full or len(self.resources[resource.pk]) < least:
            return limits.of_resource(resource.pk, self.nodes, resource.max_nodes, least)
        return limits.of_sites({site.pk: site.max_nodes for site in full}, min(full.values()))

    def launches(self, resource: Resource, sites: Sequence[Site]) -> Iterator[tuple[Site, int, Opening]]:
        """One launch after the other, each whole: where, of how many nodes, and when there is room for all of them."""
        for way in range(len(_HOW)):
            for site in sites:
                machines = resource.machines_at(site)
                while opening := self._take(resource.pk, site.pk, machines, way):
                    yield site, machines, opening

    def _take(self, resource: str, site: str, machines: int, way: int) -> Opening | None:
        """When and how so many places come, which are taken then; None where they do not come in this way."""
        there, own = self.sites.get(site, []), self.resources[resource]
        if min(len(there), len(own)) < machines:
            return None
        needed = [*there[:machines], *own[:machines]]
        if max(needed)[0] > way:
            return None
        del there[:machines], own[:machines]
        return max(needed)[0], max(seconds for _, seconds in needed)


def _freed(room: int, coming: Iterable[Opening]) -> list[Opening]:
    """The free places, and those that come; what is beyond a limit now has to go before any place is free."""
    left = sorted(coming, key=lambda opening: opening[1])[max(-room, 0) :]
    return [(_FREE, 0.0)] * min(max(room, 0), _ENOUGH) + sorted(left)


def _leaving(now: datetime) -> Iterator[tuple[str, str, float]]:
    """Site and resource of each node that leaves, and in how many seconds it has left.

    At a site with a problem nobody can tell.
    """
    active = Lease.objects.filter(state=LeaseState.ACTIVE, node__state__in=NODE_LEAVING).order_by()
    begun = dict(active.values_list("node").annotate(Min("created_at")))
    leaving = Node.objects.filter(state__in=NODE_LEAVING, site__problem="")
    for pk, site, resource in leaving.values_list("pk", "site", "resource"):
        yield site, resource, seconds_at_work(begun.get(pk), now)


def seconds_at_work(since: datetime | None, now: datetime) -> float:
    """How long a node goes on with what it began then: what has taken so long may take as long again."""
    return max(booking.BUSY_SECONDS, (now - since).total_seconds() if since else 0.0)


def _to_spare(resource: Resource, sites: Collection[str]) -> list[str]:
    """The sites of idle nodes that other resources do not want, each as often as it has some: they make place."""
    unsure = Q(state__in=NODE_STARTING) & ~Q(site__problem="")
    staying = Node.objects.filter(state__in=NODE_LIVE - NODE_LEAVING, reserved_for=None).exclude(unsure)
    shared = staying.exclude(resource=resource)
    idle = shared.filter(state=NodeState.IDLE, site__in=sites).exclude(held__model__pinned=True)
    idle = idle.select_related("resource")
    have = dict(shared.order_by().values_list("resource").annotate(Count("pk")))
    found = []
    for node in idle:
        giver = node.resource
        wanted = max(giver.last_plan.get("want") or 0, giver.min_nodes, giver.standby) if giver.enabled else 0
        if have[giver.pk] > wanted and pools.gives_way(giver):
            have[giver.pk] -= 1
            found.append(node.site_id)
    return found


def usable(resource: Resource) -> list[Site]:
    """Its sites that can be asked for a node, the preferred one first."""
    return list(resource.sites.filter(enabled=True, problem="").order_by("placements__position"))


def start_seconds(resource: Resource, site: Site) -> float:
    """How long a node takes to start there."""
    return resource.start_seconds or booking.UNKNOWN_START[site.kind]
