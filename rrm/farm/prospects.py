"""Where the next renderers for people could come from, and why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q

from rrm.domain import autoscaling, booking
from rrm.domain.states import NODE_LEAVING, NODE_LIVE, NODE_STARTING, LeaseState, NodeState, SessionState
from rrm.farm import openings
from rrm.farm.models import Lease, Node, Resource, Session
from rrm.farm.openings import usable


def of(resource: Resource, now: datetime) -> booking.Prospects:
    """Where the resource's next renderers could come from."""
    obstacle = _obstacle(resource, now)
    to_start, limit = ([], obstacle) if obstacle else openings.of(resource, _rivals(resource, now), now)
    return booking.Prospects([*_coming(resource, now), *to_start], _ends(resource), limit)


def _ends(resource: Resource) -> list[datetime]:
    """When the nodes of sessions are free for others; the first of more nodes than there may be leave instead."""
    if not resource.enabled:
        return []
    booked = Session.objects.filter(resource=resource, state=SessionState.READY)
    ends = sorted(instant for instant in booked.values_list("expires_at", flat=True) if instant is not None)
    beyond = resource.nodes.filter(state__in=NODE_LIVE - NODE_LEAVING).count() - resource.max_nodes if ends else 0
    return ends[max(beyond, 0) :]


def _coming(resource: Resource, now: datetime) -> Iterator[booking.Place]:
    """Nodes on their way, and those at work, that people will be sent to."""
    active = Lease.objects.filter(state=LeaseState.ACTIVE, node__resource=resource).order_by()
    begun = dict(active.values_list("node").annotate(Min("created_at")))
    starts = Q(state__in=NODE_STARTING, site__problem="")
    works = Q(state=NodeState.BUSY) & ~Q(address="")
    shared = Node.objects.filter(starts | works, resource=resource, reserved_for=None)
    for node in shared.select_related("site"):
        if node.state == NodeState.BUSY:
            seconds = openings.seconds_at_work(begun.get(node.pk), now)
            how = "a node that finishes what it renders"
        else:
            age = (now - node.requested_at).total_seconds()
            expected = openings.start_seconds(resource, node.site)
            seconds = max(1.0, expected - age) if age < expected else age  # it may take as long again
            how = "a node that is starting"
        if node.ends_at is None or node.ends_at > now + timedelta(seconds=seconds) + booking.MARGIN:
            yield booking.Place(seconds, how)


def _rivals(resource: Resource, now: datetime) -> Iterator[tuple[Resource, int]]:
    """Other resources for whose people nodes are to be started, and how many."""
    waiting = Session.objects.filter(state=SessionState.PENDING, opened_at__isnull=False, overrides={}).order_by()
    lacking = dict(waiting.exclude(resource=resource).values_list("resource").annotate(Count("pk")))
    there = Q(state=NodeState.IDLE) | Q(state__in=NODE_STARTING, site__problem="")
    shared = Node.objects.filter(there, resource__in=lacking, reserved_for=None).order_by()
    for id_, count in shared.values_list("resource").annotate(Count("pk")):
        lacking[id_] -= count
    for rival in Resource.objects.filter(pk__in=[id_ for id_, count in lacking.items() if count > 0]).order_by("pk"):
        if not _obstacle(rival, now):
            yield rival, lacking[rival.pk]


def _obstacle(resource: Resource, now: datetime) -> str:
    """Why no further node would be started whatever the limits allow."""
    if not resource.enabled:
        return f"{resource.pk} is disabled"
    waits = resource.retry_at is not None and resource.retry_at > now  # otherwise one more is tried for whoever waits
    inoperable = resource.launch_failures >= autoscaling.FAILURES_ALLOWED
    tries = inoperable and resource.nodes.filter(state__in=NODE_STARTING, reserved_for=None, site__problem="").exists()
    if inoperable and (waits or tries):
        return f"{resource.launch_failures} nodes in a row could not be started: {resource.reason}"
    if waits:
        return f"the last node could not be started: {resource.reason}"
    return "" if usable(resource) else trouble(resource)


def trouble(resource: Resource) -> str:
    """Why none of the resource's sites can be used."""
    troubles = resource.sites.exclude(problem="").values_list("id", "problem")
    return "; ".join(f"site {site}: {problem}" for site, problem in troubles) or "it has no enabled site"
