"""The autoscaler's plans carried out in a simulated farm: nodes queue, boot, fail to start, and go."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from rrm.domain.autoscaling import (
    Demand,
    History,
    Limits,
    Phase,
    SiteRoom,
    SupplyNode,
    Work,
    launch_failed,
    launch_succeeded,
    plan,
)
from rrm.simulate.dispatch import instant
from rrm.simulate.engine import Simulation
from rrm.simulate.farm import Node


@dataclass(frozen=True, slots=True)
class Supplier:
    """A site that nodes are asked of. Seconds; the wait in its queue is exponential around its mean."""

    places: int
    queue_wait: float = 0.0
    boot: float = 20.0
    failures: float = 0.0
    """The part of launches that come to nothing."""
    fails_after: float = 5.0
    stop: float = 5.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one plan saw and did. `exist` counts all that takes a place: starting, ready and leaving nodes."""

    at: float
    want: int
    ready: int
    starting: int
    exist: int
    launched: int
    drained: int
    reason: str


@dataclass(slots=True)
class Autoscaler:
    """Plans every period, as the service does; the sites of `limits` are those of `suppliers`."""

    limits: Limits
    suppliers: dict[str, Supplier]
    seed: int = 0
    history: History = field(default_factory=History)
    turns: list[Turn] = field(default_factory=list)
    starting: dict[int, str] = field(default_factory=dict)
    """Launches under way, and their sites."""
    leaving: dict[str, str] = field(default_factory=dict)

    def start(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._chance = random.Random(f"{self.seed}/sites")
        self._launches = 0
        self._turn(None)

    _simulation: Simulation = field(init=False, repr=False)
    _chance: random.Random = field(init=False, repr=False)
    _launches: int = field(init=False, default=0)

    @property
    def now(self) -> float:
        return self._simulation.farm.now

    def _turn(self, _: None) -> None:
        decided = plan(self._demand(), list(self._supply()), self._limits(), self.history, instant(self.now))
        self.history = decided.history
        for site in decided.launch:
            self._launch(site)
        nodes = self._simulation.farm.nodes
        for id_ in decided.drain:
            self._drain(nodes[id_])
        ready, starting = len(nodes), len(self.starting)
        exist = ready + starting + len(self.leaving)
        launched, drained = len(decided.launch), len(decided.drain)
        self.turns.append(Turn(self.now, decided.want, ready, starting, exist, launched, drained, decided.reason))
        self._simulation.at(self.now + self.limits.period.total_seconds(), self._turn)

    def _demand(self) -> Demand:
        """Queued and running work; as many loads are expected as there were misses up to now."""
        simulation = self._simulation
        tally, loads = simulation.tally, simulation.farm.loads
        misses = tally.loads / max(1, tally.hits + tally.loads)
        seconds, ranges = 0.0, 0
        for job in simulation.jobs.values():
            seconds += job.unclaimed * (job.order.estimate + misses * loads[job.model])
            ranges += job.unclaimed + job.running
        seconds += sum(max(0.0, node.free_at - self.now) for node in simulation.farm.nodes.values() if node.job)
        work = (Work(seconds, ranges),) if ranges else ()
        models = frozenset(job.model for job in simulation.jobs.values())
        return Demand(work, simulation.visits_open, models)

    def _supply(self) -> Iterator[SupplyNode]:
        farm = self._simulation.farm
        for node in farm.nodes.values():
            phase = Phase.IDLE if node.is_idle else Phase.BUSY
            since = instant(node.idle_since) if node.is_idle else None
            pinned = not farm.pinned.isdisjoint(node.held)
            yield SupplyNode(node.id, node.site, phase, since, node.models, pinned)
        for number, site in self.starting.items():
            yield SupplyNode(f"launch-{number}", site, Phase.STARTING)
        for id_, site in self.leaving.items():
            yield SupplyNode(id_, site, Phase.LEAVING)

    def _limits(self) -> Limits:
        taken = [*(node.site for node in self._simulation.farm.nodes.values()), *self.starting.values()]
        taken += self.leaving.values()
        rooms = (SiteRoom(site, supplier.places - taken.count(site)) for site, supplier in self.suppliers.items())
        return replace(self.limits, sites=tuple(rooms))

    def _launch(self, site: str) -> None:
        supplier, number = self.suppliers[site], self._launches
        self._launches += 1
        self.starting[number] = site
        if self._chance.random() < supplier.failures:
            self._simulation.at(self.now + supplier.fails_after, self._failed, number)
            return
        queued = self._chance.expovariate(1 / supplier.queue_wait) if supplier.queue_wait else 0.0
        self._simulation.at(self.now + queued + supplier.boot, self._ready, number)

    def _failed(self, number: int) -> None:
        del self.starting[number]
        self.history = launch_failed(self.history, instant(self.now))

    def _ready(self, number: int) -> None:
        self.history = launch_succeeded(self.history)
        self._simulation.join(self.starting.pop(number))

    def _drain(self, node: Node) -> None:
        self._simulation.leave(node)
        self.leaving[node.id] = node.site
        self._simulation.at(self.now + self.suppliers[node.site].stop, self._gone, node.id)

    def _gone(self, id_: str) -> None:
        del self.leaving[id_]


def limits(least: int, most: int, start: float, drain: float = 300.0, standby: int = 0) -> Limits:
    """Those of a resource that may have `least` to `most` nodes, which take `start` seconds to come."""
    return Limits(
        min_nodes=least,
        max_nodes=most,
        sites=(),
        standby=standby,
        start_time=timedelta(seconds=start),
        drain_time=timedelta(seconds=drain),
    )
