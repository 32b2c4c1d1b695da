"""What resources have for those who wait: sites where nodes may run or do, and the nodes that are there or come."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, F, Q

from rrm.domain.capabilities import lacking
from rrm.domain.states import NODE_LIVE, NODE_STARTING, NODE_TAKING, NODE_WORKING, NodeState
from rrm.farm import hearing, quarantine
from rrm.farm.models import HeldModel, Node, ResourceSite

_IDLE = frozenset({NodeState.IDLE})


class SeenNode(NamedTuple):
    """A node that is there or on its way: columns by their names."""

    site: str
    state: str
    name: str
    cores: int
    ends_at: datetime | None
    last_heartbeat: datetime | None
    reserved_for: UUID | None


@dataclass
class Supply:
    """What a resource has: sites where nodes may run or do, what is wrong with them, and its nodes."""

    sites: dict[str, list[str]] = field(default_factory=dict)
    """Site → what it can do."""
    problems: dict[str, str] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)
    """Sites without room for one more node."""
    nodes: dict[str, SeenNode] = field(default_factory=dict)
    """By their ids, as text: many sets are made of these. Those reserved for a session that could take work count as
    booked."""
    holders: dict[UUID, set[str]] = field(default_factory=dict)
    """Model → the nodes that hold it and take work."""
    silent: set[str] = field(default_factory=set)
    """Nodes that are idle, as it seems, and were not heard lately."""
    pinned: set[str] = field(default_factory=set)
    """Nodes that hold a pinned model."""
    mortal: set[str] = field(default_factory=set)
    """Nodes that their site will end at a known time."""
    _known: dict[tuple[frozenset[str], frozenset[str]], frozenset[str]] = field(default_factory=dict, init=False)

    def at(self, sites: frozenset[str], states: frozenset[str]) -> frozenset[str]:
        """The nodes there in these states; most jobs ask for the same."""
        if (sites, states) not in self._known:
            found = (id for id, node in self.nodes.items() if node.site in sites and node.state in states)
            self._known[sites, states] = frozenset(found)
        return self._known[sites, states]

    def kept_elsewhere(self, sites: frozenset[str]) -> list[str]:
        """The idle nodes at other sites that stay for what they hold, it is pinned; unless others there may go."""
        idle = {id for id in self.at(frozenset(self.sites), _IDLE) if self.nodes[id].site not in sites}
        return [] if idle - self.pinned else sorted(self._told(id) for id in idle)

    def _told(self, id: str) -> str:
        return f"{self.nodes[id].name} at {self.nodes[id].site}"

    def able(self, named: frozenset[str], requires: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
        """The sites of those named, or all, where nodes may run or do, and those of them that have what is required."""
        places = frozenset(named & self.sites.keys() if named else self.sites)
        return places, frozenset(site for site in places if not lacking(requires, self.sites[site]))

    def sites_of(self, nodes: Collection[str]) -> frozenset[str]:
        """Where some of these nodes at work are."""
        return frozenset(site for site in self.sites if not self.at(frozenset({site}), NODE_WORKING).isdisjoint(nodes))


def of(resources: Collection[str], now: datetime) -> Mapping[str, Supply]:
    """The supply of each of these resources."""
    supply = {resource: Supply() for resource in resources}
    placements = ResourceSite.objects.filter(resource__in=resources, site__enabled=True, site__max_nodes__gt=0)
    room = F("site__max_nodes") - Count("site__nodes", filter=Q(site__nodes__state__in=NODE_LIVE))
    told = ("resource", "site", "site__capabilities", "site__problem", "room")
    for resource, site, tags, problem, places in placements.annotate(room=room).values_list(*told):
        supply[resource].sites[site] = tags
        if places <= 0:
            supply[resource].crowded.add(site)
        if problem:
            supply[resource].problems[site] = problem
    _add_nodes(supply, now)
    _add_holders(supply)
    return supply


def _add_nodes(supply: Mapping[str, Supply], now: datetime) -> None:
    live = Node.objects.filter(resource__in=list(supply), state__in=NODE_STARTING | NODE_WORKING)
    heard_since = hearing.since(now)
    for pk, resource, tags, *columns in live.values_list("pk", "resource", "site__capabilities", *SeenNode._fields):
        node, own, id = SeenNode._make(columns), supply[resource], str(pk)
        if node.state in NODE_TAKING:
            own.sites[node.site] = tags  # they go on though their site was disabled meanwhile
            if node.reserved_for:
                node = node._replace(state=NodeState.BOOKED)
        own.nodes[id] = node
        if node.state == NodeState.IDLE and (node.last_heartbeat is None or node.last_heartbeat <= heard_since):
            own.silent.add(id)
        if node.ends_at is not None:
            own.mortal.add(id)


def _add_holders(supply: Mapping[str, Supply]) -> None:
    held = HeldModel.objects.filter(quarantine.BY_TAKERS, node__resource__in=list(supply))
    for pk, model, resource, is_pinned in held.values_list("node", "model", "node__resource", "model__pinned"):
        own, id = supply[resource], str(pk)
        own.holders.setdefault(model, set()).add(id)
        if is_pinned and id in own.nodes:  # it may have come since the nodes were read
            own.pinned.add(id)
