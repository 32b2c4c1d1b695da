"""How far orders to load models in advance are, and what happens next, in sentences for whoever gave them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import Count
from django.utils import timezone

from rrm.domain import limits
from rrm.domain.states import NODE_LEAVING, NODE_LIVE, NODE_STARTING, NODE_WORKING
from rrm.farm import quarantine
from rrm.farm.models import HeldModel, Node, Preload, Resource, ResourceSite, Site
from rrm.farm.transitions import iso


@dataclass(slots=True)
class _Crew:
    """The nodes that a resource has or is about to have."""

    starting: int = 0
    """Of those that anybody may use."""
    staying: int = 0
    """All that are starting or at work."""
    leaving: int = 0
    """Others that still take a place."""
    able: set[str] = field(default_factory=set)
    """The names of those at work that may be told to load a model."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an order is: nodes that hold the model and load it, and what its resource has beside them."""

    holding: int = 0
    loading: int = 0
    starting: int = 0
    staying: int = 0
    others: frozenset[str] = frozenset()
    """The names of nodes at work that neither hold nor load it, and may be told to."""
    leaving: int = 0
    rooms: Mapping[Site, int] = field(default_factory=dict)
    """The sites that can be asked for a node, and how many more they have room for."""


def progress(orders: Collection[Preload]) -> Mapping[int, Progress]:
    """How far each order is, by its key; four queries for all."""
    resources = {order.resource_id for order in orders}
    crews, busy, rooms = _crews(resources), _at_it(orders, resources), _rooms(resources)
    found = {}
    for order in orders:
        crew, at_it = crews[order.resource_id], busy.get((order.model_id, order.resource_id), {})
        loading = sum(at_it.values())
        found[order.pk] = Progress(
            holding=len(at_it) - loading,
            loading=loading,
            starting=crew.starting,
            staying=crew.staying,
            others=frozenset(crew.able - at_it.keys()),
            leaving=crew.leaving,
            rooms=rooms.get(order.resource_id, {}),
        )
    return found


def _crews(resources: Collection[str]) -> Mapping[str, _Crew]:
    crews = {resource: _Crew() for resource in resources}
    nodes = Node.objects.filter(resource__in=resources, state__in=NODE_LIVE).order_by()
    for resource, name, state, session in nodes.values_list("resource", "name", "state", "reserved_for"):
        crew = crews[resource]
        if state in NODE_LEAVING:
            crew.leaving += 1
            continue
        crew.staying += 1
        if session is None and state in NODE_STARTING:
            crew.starting += 1
        elif session is None:
            crew.able.add(name)
    return crews


def _rooms(resources: Collection[str]) -> Mapping[str, dict[Site, int]]:
    """Resource → its sites that can be asked for a node, the preferred one first, and their room."""
    live = Node.objects.filter(state__in=NODE_LIVE).order_by()
    taken = dict(live.values_list("site").annotate(Count("pk")))
    placed = ResourceSite.objects.filter(
        resource__in=resources, site__enabled=True, site__problem="", site__max_nodes__gt=0
    )
    found: dict[str, dict[Site, int]] = {}
    for place in placed.select_related("site").order_by("position"):
        found.setdefault(place.resource_id, {})[place.site] = place.site.max_nodes - taken.get(place.site_id, 0)
    return found


def _at_it(orders: Collection[Preload], resources: Collection[str]) -> Mapping[Any, dict[str, bool]]:
    """(model, resource) → the nodes at work that have it, by name, and whether they load it."""
    found: dict[Any, dict[str, bool]] = {}
    held = HeldModel.objects.filter(
        model__in={order.model_id for order in orders}, node__resource__in=resources, node__state__in=NODE_WORKING
    )
    for model, resource, name, is_loading in held.values_list("model", "node__resource", "node__name", "loading"):
        found.setdefault((model, resource), {})[name] = is_loading
    return found


def arranged(orders: Collection[Preload]) -> list[dict[str, Any]]:
    """What there is of orders, with a sentence for each; they have their owner, model and resource."""
    reached, now = progress(orders), timezone.now()
    return [
        {
            "model": str(order.model_id),
            "resource": order.resource_id,
            "nodes": order.nodes,
            "until": iso(order.until),
            "owner": order.owner.get_username(),
            "holding": reached[order.pk].holding,
            "loading": reached[order.pk].loading,
            "starting": reached[order.pk].starting,
            "reason": reason(order, reached[order.pk], now),
        }
        for order in orders
    ]


def reason(order: Preload, reached: Progress, now: datetime) -> str:
    """What happens next."""
    if reached.holding >= order.nodes:
        return "As many nodes as wanted hold it."
    told = f"{reached.holding} of {order.nodes} hold it, {reached.loading} load it"
    if reached.holding + reached.loading >= order.nodes:
        return f"{told}."
    return f"{'; '.join([told, *(_outlook(order, reached, now) or ['its other nodes serve sessions'])])}."


def _outlook(order: Preload, reached: Progress, now: datetime) -> list[str]:
    """Who is to load it, and who is not asked to at present."""
    if order.model.quarantined_until is not None and quarantine.is_in_force(order.model, now):
        names = ", ".join(quarantine.could_not_load(order.model, now)) or "nodes"
        return [f"no node is asked to load it before {_moment(order.model.quarantined_until)}, as {names} could not"]
    failed = {name: at for name, at in order.model.load_failures if name in reached.others}
    failed = {name: failed[name] for name in quarantine.tried(failed.items(), now)}
    most = order.resource.max_nodes
    able, missing = reached.others - failed.keys(), order.nodes - reached.holding - reached.loading
    told = []
    if able and most:
        told.append("the next nodes that are free follow")
    elif reached.starting and most:
        told.append("nodes that are starting follow")
    if len(able) + reached.starting < missing and reached.staying < min(order.nodes, most):
        told.append(_start(order.resource, reached, now))
    if most < order.nodes or (not told and most <= reached.staying and not failed):
        told.append(f"{order.resource_id} may have {_at_most(most)}")
    return [*told, _again(failed)] if failed else told


def _at_most(nodes: int) -> str:
    return f"{nodes} node{'' if nodes == 1 else 's'} at most" if nodes else "no node"


def _start(resource: Resource, reached: Progress, now: datetime) -> str:
    if not reached.rooms:
        return "a node cannot be started for it, as no site can be used at present"
    if resource.retry_at is not None and resource.retry_at > now:
        return f"no node could be started for it, which is tried again at {_moment(resource.retry_at)}"
    limit = _limit(resource, reached)
    return f"no node can be started for it at present: {limit}" if limit else "a node is to be started for it"


def _limit(resource: Resource, reached: Progress) -> str:
    """Which limit allows no node now; empty where one can be started."""
    machines = {site: resource.machines_at(site) for site in reached.rooms}
    nodes, most = reached.staying + reached.leaving, resource.max_nodes
    allowed = {site: each for site, each in machines.items() if nodes + each <= most}
    if not allowed:
        return limits.of_resource(resource.pk, nodes, most, min(machines.values()))
    if any(reached.rooms[site] >= each for site, each in allowed.items()):
        return ""
    return limits.of_sites({site.pk: site.max_nodes for site in allowed}, min(allowed.values()))


def _again(failed: Mapping[str, float]) -> str:
    """When these nodes, which could not load it at that second since 1970, are asked again."""
    first = datetime.fromtimestamp(min(failed.values()), UTC) + settings.RRM.quarantine_period
    names, several = ", ".join(sorted(failed)), len(failed) > 1
    return f"{names} could not load it and {'are' if several else 'is'} asked again from {_moment(first)} on"


def _moment(instant: datetime) -> str:
    return iso(instant.replace(microsecond=0))
