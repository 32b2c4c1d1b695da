"""The plan of all resources, whose nodes share the places of the sites.

Each resource with work gets a first node before any gets more; where its sites are full, one of a resource with
several makes place, an idle one if there is any. Beyond that only idle nodes make place that their own resource does
not want, and not at once: moving one costs a start. So two resources that both have work never take from each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from rrm.domain.autoscaling import sentences
from rrm.domain.autoscaling.facts import Demand, History, Limits, Phase, Plan, SupplyNode
from rrm.domain.autoscaling.leaving import by_loss, is_needed
from rrm.domain.autoscaling.plans import plan
from rrm.domain.autoscaling.weighing import Weighed, weigh

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

    def _with(self, rooms: Rooms) -> Limits:
        sites = tuple(replace(site, room=rooms[site.id]) for site in self.limits.sites)
        return replace(self.limits, sites=sites)


def plan_farm(pools: Sequence[Pool], now: datetime) -> dict[str, Plan]:
    """The plan of each resource."""
    rooms: Rooms = Counter()
    for pool in pools:
        rooms.update({site.id: site.room for site in pool.limits.sites if site.id not in rooms})
    wishes = {pool.id: pool.wish(now) for pool in pools}
    order = sorted(pools, key=lambda pool: _turn(pool, wishes[pool.id]))
    plans = _with_room(order, wishes, rooms, now)
    moves = _Moves(order, plans, rooms, now)
    for pool in order:
        moves.make_place_for(pool, wishes[pool.id])
    return {pool.id: moves.told(pool) for pool in pools}


def _turn(pool: Pool, wish: Plan) -> tuple[bool, bool, float, str]:
    """Who has nothing comes first, then who lacks nodes for people, then who has the least part of what it wants."""
    return wish.have > 0, pool.demand.sessions <= wish.have, wish.have / max(wish.want, 1), pool.id


def _with_room(order: Sequence[Pool], wishes: dict[str, Plan], rooms: Rooms, now: datetime) -> dict[str, Plan]:
    """Plans that fit together: a place is set aside for the first node of each resource before others get more."""
    firsts: dict[str, str] = {}
    for pool in order:
        if not wishes[pool.id].have and wishes[pool.id].launch:
            places = (*wishes[pool.id].launch[:1], *(site.id for site in pool.limits.sites))
            if site := next((place for place in places if rooms[place] > 0), None):
                firsts[pool.id] = site
                rooms[site] -= 1
    plans = {}
    for pool in order:
        rooms.update([firsts[pool.id]] if pool.id in firsts else [])
        plans[pool.id] = pool.plan(rooms, now)
        rooms.subtract(plans[pool.id].launch)
    return plans


def _machines(pool: Pool, wish: Plan) -> int:
    """How many nodes its first launch gives."""
    return next((site.machines for site in pool.limits.sites if site.id in wish.launch[:1]), 1)


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
        self.coming = +self.left  # too little for a launch that gives several nodes
        for pool in self.pools:
            leaving = set(self.plans[pool.id].leaving)
            for node in pool.supply:
                if node.id in leaving:
                    self.counts[pool.id][node.site] -= 1
                if node.id in leaving or node.phase is Phase.LEAVING:
                    self.coming[node.site] += 1

    def make_place_for(self, pool: Pool, wish: Plan) -> None:
        """Have nodes leave where the resource would launch more than its sites have room for."""
        missing = Counter(wish.launch) - Counter(self.plans[pool.id].launch)
        first = 0 if wish.have or self.plans[pool.id].launch else _machines(pool, wish)
        for number in range(max(len(wish.launch) - len(self.plans[pool.id].launch), 0)):
            where = self._sites_for(pool, missing)
            if coming := next((site for site in where if self.coming[site] > 0), None):
                self.coming[coming] -= 1
            elif giver := self._giver(pool, where, bare=number < first):
                donor, node = giver
                self.yields[donor.id].append((node.id, pool.id))
                self.counts[donor.id][node.site] -= 1
            else:
                return

    def _sites_for(self, pool: Pool, missing: Counter[str]) -> tuple[str, ...]:
        """Where its next node may be: where work is bound to if that lacks one, else at any of its sites."""
        site = next(iter(missing), "")
        missing -= Counter([site])
        counts = self.counts[pool.id]
        bound = [need.sites for need in self.weighed[pool.id].needs if site in need.sites and not need.met_by(counts)]
        return tuple(place.id for place in pool.limits.sites if not bound or place.id in bound[0])

    def _giver(self, taker: Pool, sites: Sequence[str], *, bare: bool) -> tuple[Pool, SupplyNode] | None:
        """Who makes place: the resource with the most to spare, by the node whose loss is the least."""
        others = [pool for pool in self.pools if pool.id != taker.id and pool.limits.gives_way]
        urgent = bare or taker.demand.sessions > self.plans[taker.id].have
        for node_of in (self._spare, self._last_resort) if bare else (self._spare,):
            for pool in sorted(others, key=lambda pool: (-self._excess(pool), pool.id)):
                if node := next(node_of(pool, sites, urgent=urgent), None):
                    return pool, node
        return None

    def _excess(self, pool: Pool) -> int:
        return self.counts[pool.id].total() - self.plans[pool.id].want

    def _spare(self, pool: Pool, sites: Sequence[str], *, urgent: bool) -> Iterator[SupplyNode]:
        """Its idle nodes at these sites beyond what it wants itself; left alone for a while unless it is urgent."""
        if self._excess(pool) <= 0:
            return
        for node in self._staying(pool, by_loss(self.weighed[pool.id]), sites):
            rested = node.idle_since is not None and self.now - node.idle_since >= pool.limits.patience
            if (urgent or rested) and not is_needed(node, self.weighed[pool.id].needs, self.counts[pool.id]):
                yield node

    def _last_resort(self, pool: Pool, sites: Sequence[str], *, urgent: bool) -> Iterator[SupplyNode]:
        """Any node that nobody booked of a resource that keeps another, for one that has none at all."""
        if self.counts[pool.id].total() > max(pool.limits.min_nodes, 1):
            rank = {Phase.IDLE: 0, Phase.STARTING: 1, Phase.BUSY: 2}
            able = (node for node in pool.supply if node.phase in rank and not node.pinned and not node.booked)
            yield from self._staying(pool, sorted(able, key=lambda node: (rank[node.phase], node.id)), sites)

    def _staying(self, pool: Pool, nodes: Sequence[SupplyNode], sites: Sequence[str]) -> Iterator[SupplyNode]:
        gone = {*self.plans[pool.id].leaving, *(node for node, _ in self.yields[pool.id])}
        return (node for node in nodes if node.site in sites and node.id not in gone)

    def told(self, pool: Pool) -> Plan:
        """The plan with what makes place, and with the reason for it."""
        made = self.plans[pool.id]
        if not self.yields[pool.id]:
            return made
        made = replace(made, yields=tuple(self.yields[pool.id]))
        return replace(made, reason=sentences.reason(made, pool.limits))
