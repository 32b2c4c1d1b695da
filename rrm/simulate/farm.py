"""The simulated nodes: which models they hold, which are idle, and when those that hold a model are free."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rrm.domain.facts import Holders, JobFacts
from rrm.simulate.arrivals import Order

RESOURCE = "farm"


@dataclass(slots=True, eq=False)
class Job:
    """An order on its way through the farm."""

    id: str
    order: Order
    unclaimed: int
    running: int = 0
    began: float | None = None

    @property
    def model(self) -> str:
        return self.order.model


@dataclass(slots=True, eq=False)
class Node:
    """`held` are its models, the least recently used first. `free_at` is when it is expected to be free."""

    id: str
    site: str
    number: int
    came: float
    held: dict[str, None] = field(default_factory=dict)
    models: frozenset[str] = frozenset()
    streak: int = 0
    streak_since: datetime | None = None
    free_at: float = 0.0
    is_idle: bool = False
    idle_since: float = 0.0
    job: Job | None = None
    until: float = 0.0
    """When it really is free."""
    booked: bool = False
    leaving: bool = False
    """It gets no more work, and is gone once it has done what it has in hand."""
    serial: int = 0
    busy_seconds: float = 0.0
    queue: deque[Job] = field(default_factory=deque)
    """What was put down for it, by policies that decide at once."""

    @property
    def outstanding(self) -> int:
        return len(self.queue) + (self.job is not None)


@dataclass(slots=True)
class Holding:
    """The nodes of one site that hold a model; `soonest` is found without a look at them all."""

    nodes: dict[Node, None] = field(default_factory=dict)
    idle: dict[Node, None] = field(default_factory=dict)
    """The longest idle first."""
    free: list[tuple[float, int, Node]] = field(default_factory=list)

    def note(self, node: Node) -> None:
        """The node is expected to be free at another time than before."""
        if len(self.free) > 2 * len(self.nodes) + 16:
            self.free = [(holder.free_at, holder.number, holder) for holder in self.nodes]
            heapq.heapify(self.free)
        else:
            heapq.heappush(self.free, (node.free_at, node.number, node))

    def seconds_from(self, now: float) -> float:
        """Until the first of them is expected to be free; 0 if one is, or should be."""
        if self.idle:
            return 0.0
        while True:
            at, _, node = self.free[0]
            if node.free_at == at and node in self.nodes:
                return at - now if at > now else 0.0
            heapq.heappop(self.free)


class Farm:
    """All nodes that exist, and the indexes that policies ask. `loads` has the seconds that models take to load."""

    def __init__(self, loads: Mapping[str, float], capacity: int, pinned: frozenset[str] = frozenset()) -> None:
        self.loads, self.capacity, self.pinned = loads, capacity, pinned
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.idle: dict[str, tuple[dict[Node, None], dict[Node, None]]] = {}
        """By site: idle nodes with room for another model, and those without; the longest idle first."""
        self.holding: dict[str, dict[str, Holding]] = {}

    def join(self, node: Node) -> None:
        self.nodes[node.id] = node
        self.rest(node)

    def leave(self, node: Node) -> None:
        """The node is gone, with all that it held."""
        del self.nodes[node.id]
        self._wake(node)
        for model in list(node.held):
            self._drop(node, model)
        node.models = frozenset()

    def rest(self, node: Node) -> None:
        """The node has nothing to do."""
        node.is_idle, node.idle_since = True, self.now
        spare_and_full = self.idle.setdefault(node.site, ({}, {}))
        spare_and_full[len(node.held) >= self.capacity][node] = None
        for model in node.held:
            self.holding[model][node.site].idle[node] = None
        self._busy_until(node, self.now)

    def begin(self, node: Node, model: str | None, until: float) -> None:
        """The node is at work, probably until then. From the begin of the load on it counts as a holder."""
        self._wake(node)
        if model is not None:
            self._hold(node, model)
        self._busy_until(node, until)

    def _wake(self, node: Node) -> None:
        if node.is_idle:
            node.is_idle = False
            del self.idle[node.site][len(node.held) >= self.capacity][node]
            for model in node.held:
                del self.holding[model][node.site].idle[node]

    def _hold(self, node: Node, model: str) -> None:
        if model in node.held:
            if next(reversed(node.held)) != model:
                del node.held[model]
                node.held[model] = None
            return
        if len(node.held) >= self.capacity:
            victim = next((held for held in node.held if held not in self.pinned), None)
            if victim is not None:
                self._drop(node, victim)
        node.held[model] = None
        node.models = frozenset(node.held)
        self.holding.setdefault(model, {}).setdefault(node.site, Holding()).nodes[node] = None

    def _busy_until(self, node: Node, at: float) -> None:
        node.free_at = at
        for model in node.held:
            self.holding[model][node.site].note(node)

    def _drop(self, node: Node, model: str) -> None:
        del node.held[model]
        sites = self.holding[model]
        del sites[node.site].nodes[node]
        if not sites[node.site].nodes:
            del sites[node.site]
            if not sites:
                del self.holding[model]

    def is_held(self, model: str) -> bool:
        return model in self.holding

    def idle_holder(self, model: str) -> Node | None:
        """An idle node that holds the model, the longest idle."""
        idle = (next(iter(holding.idle), None) for holding in self.holding.get(model, {}).values())
        return min((node for node in idle if node), key=lambda node: (node.idle_since, node.number), default=None)

    def spare(self) -> Iterator[Node]:
        """One idle node of each site, that whose load costs the least: with room, else the longest idle.

        Nodes of a site that hold nothing anybody waits for decide alike, so that one may answer for all.
        """
        for with_room, full in self.idle.values():
            node = next(iter(with_room or full), None)
            if node is not None:
                yield node


@dataclass(frozen=True, slots=True)
class FarmHolders(Holders):
    """Who holds what in the farm, found when it is asked for."""

    farm: Farm = field(kw_only=True)

    def among(self, job: JobFacts) -> tuple[int, float]:
        """As that of any holders, without a look at sites where there is one."""
        sites = self.farm.holding.get(job.model)
        if sites is None:
            return 0, 0.0
        if len(sites) > 1 or job.sites is not None:
            return Holders.among(self, job)
        [holding] = sites.values()
        return len(holding.nodes), holding.seconds_from(self.farm.now)


class HeldBy(Mapping[tuple[str, str], Mapping[str, tuple[int, float]]]):
    """The farm as `scheduling.Holders` reads it, made when it is asked for."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def __getitem__(self, key: tuple[str, str]) -> Mapping[str, tuple[int, float]]:
        now = self._farm.now
        sites = self._farm.holding[key[1]].items()
        return {site: (len(holding.nodes), holding.seconds_from(now)) for site, holding in sites}

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((RESOURCE, model) for model in self._farm.holding)

    def __len__(self) -> int:
        return len(self._farm.holding)
