"""The autoscaler's plans carried out in a simulated farm: nodes queue, boot, fail to start, and go."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from rrm.domain.autoscaling import (
    Demand,
    History,
    Limits,
    Phase,
    Plan,
    Pool,
    SiteRoom,
    SupplyNode,
    Work,
    launch_failed,
    launch_succeeded,
    plan_farm,
)
from rrm.simulate.dispatch import instant
from rrm.simulate.engine import Simulation
from rrm.simulate.farm import RESOURCE, Job, Node

LATELY = 3600.0  # the hit rate is that of so many seconds
_LAUNCH = "launch-"
LEAST_PAUSE = 5.0  # seconds before a plan for work that comes; orders that come together are planned for together


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
    """Plans every period and when work comes, as the service does; the sites of `limits` are those of `suppliers`."""

    limits: Limits
    suppliers: dict[str, Supplier]
    seed: int = 0
    history: History = field(default_factory=History)
    turns: list[Turn] = field(default_factory=list)
    """The plans of each period, and those between that changed something."""
    starting: dict[int, str] = field(default_factory=dict)
    """Launches under way, and their sites."""
    leaving: dict[str, str] = field(default_factory=dict)

    def start(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._chance = random.Random(f"{self.seed}/sites")
        self._launches = 0
        self._leases = deque([(self.now, 0, 0)])
        self._every_period(None)

    _simulation: Simulation = field(init=False, repr=False)
    _chance: random.Random = field(init=False, repr=False)
    _launches: int = field(init=False, default=0)
    _leases: deque[tuple[float, int, int]] = field(init=False, repr=False)
    """At instants of the last hour, how many had found their model and how many had not."""
    _woken: bool = field(init=False, default=False)
    _planned_at: float = field(init=False, default=0.0)

    @property
    def now(self) -> float:
        return self._simulation.farm.now

    def _every_period(self, _: None) -> None:
        self._turn(always=True)
        self._simulation.at(self.now + self.limits.period.total_seconds(), self._every_period)

    def ordered(self) -> None:
        """Work came: it is planned for at once, unless another plan was made a moment ago."""
        if not self._woken:
            self._woken = True
            self._simulation.at(max(self.now, self._planned_at + LEAST_PAUSE), self._wake)

    def _wake(self, _: None) -> None:
        self._woken = False
        self._turn()

    def _turn(self, *, always: bool = False) -> None:
        now = instant(self.now)
        self._planned_at = self.now
        pool = Pool(RESOURCE, self._demand(), list(self._supply()), self._limits(), self.history)
        decided = plan_farm([pool], now)[RESOURCE]
        self.history = decided.history
        for site in decided.launch:
            self._launch(site)
        nodes = self._simulation.farm.nodes
        for id_ in decided.drain:
            self._drain(nodes[id_])
        for id_, _ in decided.beyond:
            self._let_go(id_)
        if always or decided.launch or decided.leaving:
            self._noted(decided)

    def _noted(self, decided: Plan) -> None:
        ready, starting = len(list(self._staying())), len(self.starting)
        exist = ready + starting + len(self.leaving)
        launched, drained = len(decided.launch), len(decided.leaving)
        self.turns.append(Turn(self.now, decided.want, ready, starting, exist, launched, drained, decided.reason))

    def _demand(self) -> Demand:
        """Queued and running work by model, and how many of the last hour's leases found theirs."""
        simulation = self._simulation
        work, loads = _Work(), simulation.farm.loads
        for job in simulation.jobs.values():
            work.add(job, job.unclaimed * job.order.estimate, job.unclaimed)
        for node in simulation.farm.nodes.values():
            if node.job is not None:
                work.add(node.job, max(0.0, node.free_at - self.now), 1)
        items = (Work(seconds, ranges, None, model, loads[model]) for model, (seconds, ranges) in work.by_model.items())
        return Demand(
            tuple(items),
            simulation.visits_open,
            frozenset(work.by_model),
            hit_rate=self._hit_rate(),
            lease_seconds=work.lease_seconds,
        )

    def _hit_rate(self) -> float | None:
        tally = self._simulation.tally
        self._leases.append((self.now, tally.hits, tally.loads))
        while len(self._leases) > 1 and self._leases[1][0] <= self.now - LATELY:
            self._leases.popleft()
        _, hits, loads = self._leases[0]
        hits, loads = tally.hits - hits, tally.loads - loads
        return hits / (hits + loads) if hits + loads else None

    def _supply(self) -> Iterator[SupplyNode]:
        farm = self._simulation.farm
        for node in self._staying():
            phase = Phase.IDLE if node.is_idle else Phase.BUSY
            since = instant(node.idle_since) if node.is_idle else None
            pinned = not farm.pinned.isdisjoint(node.held)
            yield SupplyNode(node.id, node.site, phase, since, node.models, pinned, node.booked)
        for number, site in self.starting.items():
            yield SupplyNode(f"{_LAUNCH}{number}", site, Phase.STARTING)
        for id_, site in self.leaving.items():
            yield SupplyNode(id_, site, Phase.LEAVING)

    def _staying(self) -> Iterator[Node]:
        return (node for node in self._simulation.farm.nodes.values() if not node.leaving)

    def _limits(self) -> Limits:
        staying = Counter([*(node.site for node in self._staying()), *self.starting.values()])
        leaving, rooms = Counter(self.leaving.values()), []
        for site, supplier in self.suppliers.items():
            room = supplier.places - staying[site]
            rooms.append(SiteRoom(site, room - leaving[site], over=max(-room, 0)))
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
        if self.starting.pop(number, None) is None:  # it was let go
            return
        self.history = launch_failed(self.history, instant(self.now))

    def _ready(self, number: int) -> None:
        if number in self.starting:
            self.history = launch_succeeded(self.history)
            self._simulation.join(self.starting.pop(number))

    def _drain(self, node: Node) -> None:
        self._simulation.leave(node)
        self.leaving[node.id] = node.site
        self._simulation.at(self.now + self.suppliers[node.site].stop, self._gone, node.id)

    def _let_go(self, id_: str) -> None:
        """The node leaves once it has done what it has in hand."""
        if id_.startswith(_LAUNCH):
            del self.starting[int(id_.removeprefix(_LAUNCH))]
            return
        node = self._simulation.farm.nodes[id_]
        if node.is_idle:
            self._drain(node)
            return
        node.leaving = True
        self.leaving[id_] = node.site
        self._simulation.at(node.until + self.suppliers[node.site].stop, self._gone, id_)

    def _gone(self, id_: str) -> None:
        del self.leaving[id_]


@dataclass(slots=True)
class _Work:
    """Node-seconds and ranges of each model, and of all."""

    by_model: dict[str, tuple[float, int]] = field(default_factory=dict)
    estimates: float = 0.0
    ranges: int = 0

    def add(self, job: Job, seconds: float, ranges: int) -> None:
        known = self.by_model.get(job.model, (0.0, 0))
        self.by_model[job.model] = known[0] + seconds, known[1] + ranges
        self.estimates += ranges * job.order.estimate
        self.ranges += ranges

    @property
    def lease_seconds(self) -> float:
        """How long a lease is on average."""
        return self.estimates / self.ranges if self.estimates else 1.0


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
