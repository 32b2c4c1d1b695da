"""The plan of all resources, whose nodes share the places of the sites.

Each resource with work gets a first node before any gets more; where its sites are full, one of a resource with
several makes place, an idle one if there is any. A batch job of several machines gets all its places at one site, or
none is made. Beyond that only idle nodes make place that their own resource does
not want, and not at once: moving one costs a start. So two resources that both have work never take from each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from rrm.domain.autoscaling import sentences
from rrm.domain.autoscaling.beyond import Giver, leave_site
from rrm.domain.autoscaling.facts import Demand, History, Limits, Phase, Plan, SupplyNode
from rrm.domain.autoscaling.leaving import by_loss, is_needed
from rrm.domain.autoscaling.plans import plan
from rrm.domain.autoscaling.weighing import Weighed, for_people, stays, weigh

Rooms = Counter[str]


@dataclass(frozen=True, slots=True)
class Pool:
    """A resource with what is known of it. The rooms of its sites are those of all resources."""

    id: str
    demand: Demand
    supply: Sequence[SupplyNode]
    limits: Limits
    history: History

    def plan(self, rooms: Rooms, now: datetime) -> Plan:
        """Its plan, were it alone with so much room."""
        return plan(self.demand, self.supply, self._with(rooms), self.history, now)

    def weigh(self, now: datetime) -> Weighed:
        return weigh(self.demand, self.supply, self.limits, self.history, now)

    def wish(self, now: datetime) -> Plan:
        """Its plan, were its sites empty."""
        return self.plan(Counter({site.id: self.limits.max_nodes for site in self.limits.sites}), now)

    @property
    def places(self) -> int:
        """How many more nodes it may have, were there room."""
        return self.limits.most - len(self.supply)

    def lacks_for_people(self, now: datetime) -> int:
        return for_people(self.demand, self.supply, now)

    def _with(self, rooms: Rooms) -> Limits:
        sites = tuple(replace(site, room=rooms[site.id]) for site in self.limits.sites)
        return replace(self.limits, sites=sites)


def plan_farm(pools: Sequence[Pool], now: datetime) -> dict[str, Plan]:
    """The plan of each resource."""
    rooms: Rooms = Counter()
    for pool in pools:
        rooms.update({site.id: site.room for site in pool.limits.sites if site.id not in rooms})
    wishes = {pool.id: pool.wish(now) for pool in pools}
    order = sorted(pools, key=lambda pool: _turn(pool, wishes[pool.id], now))
    plans = _without_what_sites_may_not_have(order, _with_room(order, wishes, rooms, now), now)
    moves = _Moves(order, plans, rooms, now)
    for pool in order:
        moves.make_place_for(pool, wishes[pool.id])
    return {pool.id: moves.told(pool) for pool in pools}


def _turn(pool: Pool, wish: Plan, now: datetime) -> tuple[bool, bool, float, str]:
    """Who has nothing comes first, then who lacks nodes for people, then who has the least part of what it wants."""
    return wish.have > 0, pool.lacks_for_people(now) <= 0, wish.have / max(wish.want, 1), pool.id


def _with_room(order: Sequence[Pool], wishes: dict[str, Plan], rooms: Rooms, now: datetime) -> dict[str, Plan]:
    """Plans that fit together: the places of the first launch of each resource are set aside before others get more.

    So they stay until the last of them has come.
    """
    aside, plans = _set_aside(order, wishes, rooms), {}
    for pool in order:
        rooms.update(aside[pool.id])
        plans[pool.id] = pool.plan(rooms, now)
        if plans[pool.id].launch:
            aside[pool.id] = Counter(plans[pool.id].launch)
        rooms.subtract(aside[pool.id])
    for pool in order:
        if not plans[pool.id].launch:
            rooms.update(aside[pool.id])
    return plans


def _set_aside(order: Sequence[Pool], wishes: dict[str, Plan], rooms: Rooms) -> dict[str, Rooms]:
    """The places for the first launch of each resource, where there are or will be enough; taken off the rooms."""
    leaving = Counter(node.site for pool in order for node in pool.supply if node.phase is Phase.LEAVING)
    aside: dict[str, Rooms] = {}
    for pool in order:
        aside[pool.id] = Counter()
        if wishes[pool.id].have or not wishes[pool.id].launch:
            continue
        machines = _machines(pool)
        places = [place for place in (wishes[pool.id].launch[0], *machines) if machines[place] <= pool.places]
        for coming in (Counter[str](), leaving):
            site = next((place for place in places if rooms[place] + coming[place] >= machines[place]), None)
            if site is not None:
                aside[pool.id][site] = max(min(machines[site], rooms[site]), 0)
                leaving[site] -= machines[site] - aside[pool.id][site]
                rooms.subtract(aside[pool.id])
                break
    return aside


def _without_what_sites_may_not_have(order: Sequence[Pool], plans: dict[str, Plan], now: datetime) -> dict[str, Plan]:
    """The plans where nodes leave sites that have more than they may."""
    over = Counter({site.id: site.over for pool in order for site in pool.limits.sites if site.over > 0})
    if not over:
        return plans
    givers = []
    for pool in order:
        farm, gone = pool.weigh(now), set(plans[pool.id].leaving)
        staying = [node for node in farm.supply if stays(node, now) and node.id not in gone]
        giver = Giver(pool.id, farm, pool.limits, gone, len(staying))
        givers.append(giver)
        going = (node for node in giver.farm.supply if node.phase is not Phase.LEAVING)
        over -= Counter(node.site for node in going if node.id in giver.gone or not stays(node, now))
    for site, count in sorted(over.items()):
        leave_site(site, count, givers)
    return {giver.id: _also_beyond(plans[giver.id], giver) for giver in givers}


def _also_beyond(made: Plan, giver: Giver) -> Plan:
    if not giver.beyond:
        return made
    made = replace(made, beyond=(*made.beyond, *giver.beyond))
    return replace(made, reason=sentences.reason(made, giver.limits))


def _machines(pool: Pool) -> dict[str, int]:
    """How many nodes one launch gives at each of its sites."""
    return {site.id: site.machines for site in pool.limits.sites}


_Nodes = Callable[[Pool, str, bool], Iterator[SupplyNode]]
"""The nodes of a resource at a site that may make place, and whether that is urgent."""


@dataclass
class _Moves:
    """Nodes of one resource that make place for another's."""

    pools: Sequence[Pool]
    plans: dict[str, Plan]
    left: Rooms
    now: datetime
    weighed: dict[str, Weighed] = field(init=False)
    counts: dict[str, Counter[str]] = field(init=False)
    coming: Counter[str] = field(init=False)
    yields: dict[str, list[tuple[str, str]]] = field(init=False)

    def __post_init__(self) -> None:
        self.weighed = {pool.id: pool.weigh(self.now) for pool in self.pools}
        self.counts = {pool: farm.counts for pool, farm in self.weighed.items()}
        self.yields = {pool.id: [] for pool in self.pools}
        self.coming = self.left.copy()  # too little for a launch that gives several nodes, less than none if over
        for pool in self.pools:
            leaving = set(self.plans[pool.id].leaving)
            for node in pool.supply:
                if node.id in leaving:
                    self.counts[pool.id][node.site] -= 1
                if node.id in leaving or node.phase is Phase.LEAVING:
                    self.coming[node.site] += 1

    def make_place_for(self, pool: Pool, wish: Plan) -> None:
        """Have nodes leave where the resource would launch more than its sites have room for: whole launches."""
        made, machines = self.plans[pool.id], _machines(pool)
        missing = Counter(wish.launch) - Counter(made.launch)
        left, places = len(wish.launch) - len(made.launch), pool.places - len(made.launch)
        bare = not (wish.have or made.launch)
        while left > 0:
            where = [site for site in self._sites_for(pool, missing) if machines[site] <= places]
            site = self._make_place(pool, where, bare=bare)
            if site is None:
                return
            left, places, bare = left - machines[site], places - machines[site], False

    def _make_place(self, pool: Pool, where: Sequence[str], *, bare: bool) -> str | None:
        """The site at which one launch gets all its places; where it would not, no node is told to leave."""
        ways: tuple[_Nodes, ...] = (self._spare, self._last_resort) if bare else (self._spare,)
        urgent = bare or pool.lacks_for_people(self.now) > len(self.plans[pool.id].launch)
        for count in range(len(ways) + 1):  # what leaves anyway, then what is spare, then others
            for site in where:
                if self._make_place_at(site, pool, ways[:count], urgent=urgent):
                    return site
        return None

    def _make_place_at(self, site: str, pool: Pool, ways: Sequence[_Nodes], *, urgent: bool) -> bool:
        """The places of one launch there, or none of them."""
        machines = _machines(pool)[site]
        coming = min(max(self.coming[site], 0), machines)
        told: list[tuple[Pool, SupplyNode]] = []
        while coming + len(told) < machines and (giver := self._giver(pool, site, ways, urgent=urgent)):
            told.append(giver)
            self._tell(*giver, pool)
        if coming + len(told) == machines:
            self.coming[site] -= coming
            return True
        for donor, _ in reversed(told):
            self.yields[donor.id].pop()
            self.counts[donor.id][site] += 1
        return False

    def _tell(self, donor: Pool, node: SupplyNode, taker: Pool) -> None:
        self.yields[donor.id].append((node.id, taker.id))
        self.counts[donor.id][node.site] -= 1

    def _sites_for(self, pool: Pool, missing: Counter[str]) -> tuple[str, ...]:
        """Where its next launch may be: where work is bound to if that lacks one, else at any of its sites."""
        site = next(iter(missing), "")
        missing -= Counter({site: _machines(pool).get(site, 1)})
        counts = self.counts[pool.id]
        bound = [need.sites for need in self.weighed[pool.id].needs if site in need.sites and not need.met_by(counts)]
        return tuple(place.id for place in pool.limits.sites if not bound or place.id in bound[0])

    def _giver(self, taker: Pool, site: str, ways: Sequence[_Nodes], *, urgent: bool) -> tuple[Pool, SupplyNode] | None:
        """Who makes place there: the resource with the most to spare, by the node whose loss is the least."""
        others = [pool for pool in self.pools if pool.id != taker.id and pool.limits.gives_way]
        for nodes_of in ways:
            for pool in sorted(others, key=lambda pool: (-self._excess(pool), pool.id)):
                if node := next(nodes_of(pool, site, urgent), None):
                    return pool, node
        return None

    def _excess(self, pool: Pool) -> int:
        return self.counts[pool.id].total() - self.plans[pool.id].want

    def _spare(self, pool: Pool, site: str, urgent: bool) -> Iterator[SupplyNode]:
        """Its idle nodes there beyond what it wants itself; left alone for a while unless it is urgent."""
        if self._excess(pool) <= 0:
            return
        for node in self._staying(pool, by_loss(self.weighed[pool.id]), site):
            rested = node.idle_since is not None and self.now - node.idle_since >= pool.limits.patience
            if (urgent or rested) and not is_needed(node, self.weighed[pool.id].needs, self.counts[pool.id]):
                yield node

    def _last_resort(self, pool: Pool, site: str, urgent: bool) -> Iterator[SupplyNode]:
        """Any node that nobody booked of a resource that keeps another, for one that has none at all."""
        if self.counts[pool.id].total() > max(pool.limits.min_nodes, 1):
            rank = {Phase.IDLE: 0, Phase.STARTING: 1, Phase.BUSY: 2}
            able = (node for node in pool.supply if node.phase in rank and not node.pinned and not node.booked)
            yield from self._staying(pool, sorted(able, key=lambda node: (rank[node.phase], node.id)), site)

    def _staying(self, pool: Pool, nodes: Sequence[SupplyNode], site: str) -> Iterator[SupplyNode]:
        gone = {*self.plans[pool.id].leaving, *(node for node, _ in self.yields[pool.id])}
        return (node for node in nodes if node.site == site and node.id not in gone)

    def told(self, pool: Pool) -> Plan:
        """The plan with what makes place, and with the reason for it."""
        made = self.plans[pool.id]
        if not self.yields[pool.id]:
            return made
        made = replace(made, yields=tuple(self.yields[pool.id]))
        return replace(made, reason=sentences.reason(made, pool.limits))
