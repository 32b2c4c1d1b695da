"""Where the next renderers for people could come from, and why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Min

from rrm.domain import autoscaling, booking
from rrm.domain.states import NODE_LEAVING, NODE_LIVE, NODE_STARTING, LeaseState, NodeState, SessionState
from rrm.farm import pools
from rrm.farm.models import Lease, Node, Resource, Session, Site

_ENOUGH = 10_000  # places to be started at one site: more than people who wait at once


def of(resource: Resource, now: datetime) -> booking.Prospects:
    """Where the resource's next renderers could come from."""
    live = list(Node.objects.filter(resource=resource, state__in=NODE_LIVE, reserved_for=None).select_related("site"))
    booked = Session.objects.filter(resource=resource, state=SessionState.READY)
    ends = [instant for instant in booked.values_list("expires_at", flat=True) if instant is not None]
    obstacle = _obstacle(resource, now)
    places = [*_coming(resource, live, now), *([] if obstacle else _to_be_started(resource))]
    return booking.Prospects(places, ends, obstacle or "the limits allow no further node")


def _coming(resource: Resource, live: Collection[Node], now: datetime) -> Iterator[booking.Place]:
    active = Lease.objects.filter(state=LeaseState.ACTIVE, node__resource=resource).order_by()
    begun = dict(active.values_list("node").annotate(Min("created_at")))
    for node in live:
        if node.state in NODE_STARTING and not node.site.problem:
            left = _start_seconds(resource, node.site) - (now - node.requested_at).total_seconds()
            yield booking.Place(max(1.0, left), "a node that is starting")
        elif node.state == NodeState.BUSY and node.address:
            # What has taken so long may take as long again.
            age = (now - begun.get(node.pk, now)).total_seconds()
            yield booking.Place(max(booking.BUSY_SECONDS, age), "a node that finishes what it renders")


def _to_be_started(resource: Resource) -> Iterator[booking.Place]:
    """A place for each node that the limits of the resource allow, where its sites have room or others make it."""
    sites = {site.pk: site for site in usable(resource)}
    live, leaving, own, own_leaving = _places_taken(resource)
    left = resource.max_nodes - own
    room = {id: site.max_nodes - live[id] for id, site in sites.items()}
    for site in sites.values():
        for _ in range(min(left, room[site.pk], _ENOUGH)):
            left, room[site.pk] = left - 1, room[site.pk] - 1
            yield booking.Place(_start_seconds(resource, site), f"a node to be started at {site.pk}")
    for place in _to_spare(resource, sites)[: max(left, 0)]:
        left -= 1
        seconds = settings.RRM.autoscale_period.total_seconds() + _start_seconds(resource, sites[place])
        yield booking.Place(seconds, f"the place of an idle node at {place}")
    left += own_leaving
    for site in sites.values():
        for _ in range(min(left, room[site.pk] + leaving[site.pk], _ENOUGH)):
            left -= 1
            seconds = booking.BUSY_SECONDS + _start_seconds(resource, site)
            yield booking.Place(seconds, f"a node to be started at {site.pk} when one that is leaving has left")


def _places_taken(resource: Resource) -> tuple[Counter[str], Counter[str], int, int]:
    """How many nodes live at each site, and how many of these are leaving; how many of both are the resource's."""
    live, leaving, own, own_leaving = Counter[str](), Counter[str](), 0, 0
    rows = Node.objects.filter(state__in=NODE_LIVE).order_by().values_list("site", "resource", "state")
    for site, of, state, count in rows.annotate(Count("pk")):
        is_leaving, is_own = state in NODE_LEAVING, of == resource.pk
        live[site] += count
        leaving[site] += count * is_leaving
        own += count * is_own
        own_leaving += count * (is_own and is_leaving)
    return live, leaving, own, own_leaving


def _to_spare(resource: Resource, sites: Collection[str]) -> list[str]:
    """The sites of idle nodes that other resources do not want, each as often as it has some: they make place."""
    shared = Node.objects.filter(state__in=NODE_LIVE, reserved_for=None).exclude(resource=resource)
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


def _start_seconds(resource: Resource, site: Site) -> float:
    return resource.start_seconds or booking.UNKNOWN_START[site.kind]


def _obstacle(resource: Resource, now: datetime) -> str:
    """Why no further node would be started whatever the limits allow."""
    if not resource.enabled:
        return f"{resource.pk} is disabled"
    waits = resource.retry_at is not None and resource.retry_at > now  # otherwise one more is tried for whoever waits
    if waits and resource.launch_failures >= autoscaling.FAILURES_ALLOWED:
        return f"{resource.launch_failures} nodes in a row could not be started: {resource.reason}"
    if waits:
        return f"the last node could not be started: {resource.reason}"
    return "" if usable(resource) else trouble(resource)


def trouble(resource: Resource) -> str:
    """Why none of the resource's sites can be used."""
    troubles = resource.sites.exclude(problem="").values_list("id", "problem")
    return "; ".join(f"site {site}: {problem}" for site, problem in troubles) or "it has no enabled site"
