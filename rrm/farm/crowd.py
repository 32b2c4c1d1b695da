"""The crowd: the nodes of a resource that take work, and who of them holds which model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from rrm.domain.facts import Holders, NodeFacts
from rrm.domain.states import NODE_WORKING, NodeState
from rrm.farm.kept import Kept
from rrm.farm.models import HeldModel, Node, ResourceSite


class Member(NamedTuple):
    """A node that takes work: columns by their names."""

    pk: UUID
    name: str
    site: str
    state: str
    idle_since: datetime | None
    reserved_for: UUID | None

    @property
    def takes_ranges(self) -> bool:
        """As `Node.takes_ranges`."""
        return self.state != NodeState.BOOKED and self.reserved_for is None


@dataclass(slots=True)
class Crowd:
    """As it was a moment ago, with what this process has given out since."""

    resource: str
    members: Mapping[UUID, Member]
    models: dict[UUID, dict[str, datetime]]
    """What each node holds or is loading, and when that was used last."""
    ranks: Mapping[str, int]
    """The place of each site in the resource's order of preference."""
    holders: Holders
    _counts: dict[tuple[str, str], dict[str, tuple[int, float]]]
    """What `holders` goes by."""
    _served: dict[str, datetime] = field(default_factory=dict)
    """When a node was last given work on each model."""

    def __post_init__(self) -> None:
        for held in self.models.values():
            for model, last_used in held.items():
                self._served[model] = max(last_used, self._served.get(model, last_used))

    def at(self, *sites: str | None) -> int:
        """How many of the nodes are at these sites; None stands for all."""
        if not sites or None in sites:
            return len(self.members)
        return sum(member.site in sites for member in self.members.values())

    def rank(self, site: str) -> int:
        return self.ranks.get(site, len(self.ranks))

    def served_at(self, model: str) -> datetime | None:
        """When a node was last given work on the model; None if nobody holds it."""
        return self._served.get(model)

    def began(self, node: Node, model: str, now: datetime) -> None:
        """The node was given work on the model: from now on it counts as one that holds it."""
        mine = self.models.setdefault(node.pk, {})
        if model not in mine:
            at = self._counts.setdefault((self.resource, model), {})
            count, soonest = at.get(node.site_id, (0, _busy_seconds(NodeState.BUSY)))
            at[node.site_id] = (count + 1, soonest)
        mine[model] = now
        self._served[model] = now


def _read(resource: str) -> Crowd:
    rows = Node.objects.filter(resource=resource, state__in=NODE_WORKING).order_by()
    members = {row[0]: Member._make(row) for row in rows.values_list(*Member._fields)}
    models: dict[UUID, dict[str, datetime]] = {}
    held = HeldModel.objects.filter(node__resource=resource, node__state__in=NODE_WORKING).order_by()
    for node, model, last_used in held.values_list("node", "model", "last_used"):
        models.setdefault(node, {})[str(model)] = last_used
    places = ResourceSite.objects.filter(resource=resource).values_list("site", flat=True)
    crowd = Crowd(resource, members, models, {site: rank for rank, site in enumerate(places)}, Holders({}), {})
    found = Holders.of(_facts(crowd, member) for member in members.values())
    crowd._counts.update({key: dict(sites) for key, sites in found.by_model.items()})
    crowd.holders = Holders(crowd._counts, found.free)
    return crowd


def _facts(crowd: Crowd, member: Member) -> NodeFacts:
    held = crowd.models.get(member.pk, {})
    return NodeFacts(
        id=str(member.pk),
        resource=crowd.resource,
        site=member.site,
        held=frozenset(held),
        busy_seconds=_busy_seconds(member.state),
        rank=crowd.rank(member.site),
        free_since=member.idle_since,
    )


def _busy_seconds(state: str) -> float:
    return 0.0 if state == NodeState.IDLE else settings.RRM.lease_target.total_seconds()


_crowds: Kept[str, Crowd] = Kept(_read)


def of(resource: str, since: float = 0.0) -> Crowd:
    """The crowd of a resource, as it was lately and not before the monotonic instant `since`."""
    return _crowds.get(resource, since)
