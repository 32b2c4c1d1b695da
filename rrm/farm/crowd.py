"""The crowd: how many nodes of a resource take work at each site, and how many of them hold which model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone

from rrm.domain.facts import FreeNodes, Holders
from rrm.domain.states import NODE_TAKING, NodeState
from rrm.farm import hearing, quarantine
from rrm.farm.kept import Kept
from rrm.farm.models import HeldModel, Node, ResourceSite

_Counts = dict[tuple[str, str], dict[str, tuple[int, float]]]
_Idle = dict[tuple[str, str], dict[str, int]]


class Taker(NamedTuple):
    """A node that renders for jobs: columns by their names."""

    pk: UUID
    name: str
    site: str


@dataclass
class Crowd:
    """As it was a moment ago, with what this process has given out since. What it knows grows with models and sites,
    not with nodes."""

    resource: str
    nodes: Mapping[str, int]
    """How many take ranges at each site: those that are booked, or reserved for a session, do not."""
    ranks: Mapping[str, int]
    """The place of each site in the resource's order of preference."""
    free: Mapping[str, FreeNodes]
    """The idle nodes of each site."""
    counts: _Counts
    """What `holders` goes by."""
    served: dict[str, datetime]
    """When a node was last given work on each model."""
    idle: Mapping[tuple[str, str], Mapping[str, int]]
    """How many of the holders at each site are idle."""
    holders: Holders = field(init=False)

    def __post_init__(self) -> None:
        self.holders = Holders(self.counts, {self.resource: self.free}, self.idle)

    def at(self, *sites: str | None) -> int:
        """How many of the nodes are at these sites; None stands for all."""
        if not sites or None in sites:
            return sum(self.nodes.values())
        return sum(self.nodes.get(site, 0) for site in sites if site)

    def rank(self, site: str) -> int:
        return self.ranks.get(site, len(self.ranks))

    def served_at(self, model: str) -> datetime | None:
        """When a node was last given work on the model; None if nobody holds it."""
        return self.served.get(model)

    def began(self, node: Node, model: str, now: datetime, *, is_new: bool) -> None:
        """The node was given work on the model, which is new to it: from now on it counts as one that holds it."""
        if is_new:
            at = self.counts.get((self.resource, model), {})
            count, soonest = at.get(node.site_id, (0, _busy_seconds(is_idle=False)))
            # Other threads read what there is.
            self.counts[self.resource, model] = {**at, node.site_id: (count + 1, soonest)}
        self.served[model] = now

    def refused(self, names: Collection[str], sites: Collection[str]) -> frozenset[UUID]:
        """The nodes of these names, if others could take their place at these sites (empty: anywhere)."""
        if not names:
            return frozenset()
        able = [taker for taker in self._takers if not sites or taker.site in sites]
        found = frozenset(taker.pk for taker in able if taker.name in names)
        return found if len(found) < len(able) else frozenset()

    @cached_property
    def _takers(self) -> list[Taker]:
        """Read when something has failed."""
        return [Taker._make(row) for row in _takers(self.resource).values_list(*Taker._fields)]


def _takers(resource: str) -> QuerySet[Node]:
    heard = hearing.lately(timezone.now())
    return Node.objects.filter(heard, resource=resource, state__in=NODE_TAKING, reserved_for=None).order_by()


def _read(resource: str) -> Crowd:
    places = ResourceSite.objects.filter(resource=resource).values_list("site", flat=True)
    ranks = {site: rank for rank, site in enumerate(places)}
    facts = {"all": Count("pk"), "idle": Count("pk", filter=Q(state=NodeState.IDLE)), "since": Max("idle_since")}
    nodes, free = {}, {}
    for site, count, idle, since in _takers(resource).values_list("site").annotate(**facts):
        nodes[site] = count
        if idle:
            free[site] = FreeNodes(ranks.get(site, len(ranks)), idle, since)
    return Crowd(resource, nodes, ranks, free, *_held(resource))


def _held(resource: str) -> tuple[_Counts, dict[str, datetime], _Idle]:
    """Who of those that take ranges holds or is loading what, when that was used last, and who of them is idle."""
    heard = hearing.lately(timezone.now(), "node__")
    held = HeldModel.objects.filter(quarantine.BY_TAKERS, heard, node__resource=resource).order_by()
    facts = {"all": Count("pk"), "idle": Count("pk", filter=Q(node__state=NodeState.IDLE)), "used": Max("last_used")}
    counts: _Counts = {}
    served: dict[str, datetime] = {}
    resting: _Idle = {}
    for id, site, count, idle, used in held.values_list("model", "node__site").annotate(**facts):
        model = str(id)
        counts.setdefault((resource, model), {})[site] = (count, _busy_seconds(is_idle=idle > 0))
        resting.setdefault((resource, model), {})[site] = idle
        served[model] = max(used, served.get(model, used))
    return counts, served, resting


def failing(nodes: Collection[UUID], models: Collection[UUID]) -> dict[tuple[str, str], tuple[str, bool]]:
    """Which of these models each of the nodes holds that take ranges; see `Holders`."""
    held = HeldModel.objects.filter(quarantine.BY_TAKERS, node__in=nodes, model__in=models).order_by()
    rows = held.values_list("node", "model", "node__site", "node__state")
    return {(str(node), str(model)): (site, state == NodeState.IDLE) for node, model, site, state in rows}


def _busy_seconds(*, is_idle: bool) -> float:
    return 0.0 if is_idle else settings.RRM.lease_target.total_seconds()


_crowds: Kept[str, Crowd] = Kept(_read)


def of(resource: str, *, young: bool = False) -> Crowd:
    """The crowd of a resource, as it was lately."""
    return _crowds.get(resource, young=young)
