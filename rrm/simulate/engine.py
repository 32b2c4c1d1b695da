"""The clock: orders come, nodes work, fail and come back, people book nodes; each event in its order."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from rrm.domain import booking
from rrm.simulate.arrivals import DAY, Order, Visit
from rrm.simulate.dispatch import Dispatcher
from rrm.simulate.farm import Farm, Job, Node
from rrm.simulate.tally import Figures, Tally

_STEPS = 20000  # between two reports of progress
_TRIES = 10  # as many times as the longest lease takes a run is patient besides

Event = tuple[float, int, Callable[..., None], Any]
"""When, a number that keeps equal instants in order, what to do, and with what."""


class Stuck(Exception):
    """The run does not come to an end: jobs wait, and nothing is delivered any more."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A farm and what is asked of it. Times are seconds.

    `orders` and `visits` come in order of time. A node breaks down every `node_mtbf` seconds of its life on average and
    another takes its place `repair` later. A node without work that was left waiting asks again every `poll`. If for
    `patience` nothing is done of what waits, the run is stuck.
    """

    orders: Iterable[Order]
    loads: Mapping[str, float]
    nodes: Mapping[str, int] = field(default_factory=lambda: {"here": 16})
    """How many nodes each site has from the begin on."""
    capacity: int = 2
    """How many models a node holds."""
    pinned: frozenset[str] = frozenset()
    visits: Iterable[Visit] = ()
    node_mtbf: float | None = None
    repair: float = 300.0
    poll: float = 1.0
    patience: float = DAY
    seed: int = 0


class Scaler(Protocol):
    """What adds and removes nodes while the simulation runs."""

    def start(self, simulation: Simulation) -> None:
        """Before the first event."""

    def ordered(self) -> None:
        """Work came."""


Watcher = Callable[[float, Node, Job, bool], None]
"""Is told of each lease that begins: when, where, whose, and whether the node held the model."""


class Simulation:
    """One run of a scenario under one policy."""

    def __init__(
        self, scenario: Scenario, dispatcher: Dispatcher, *, scaler: Scaler | None = None, watch: Watcher | None = None
    ) -> None:
        self.scenario, self.dispatcher, self.watch = scenario, dispatcher, watch
        self.farm = Farm(scenario.loads, scenario.capacity, scenario.pinned)
        self.chance = random.Random(f"{scenario.seed}/farm")
        self.tally = Tally()
        self.jobs: dict[str, Job] = {}
        """Those that are not done."""
        self.people: deque[Visit] = deque()
        """Those who wait for a node."""
        self.visits_open = 0
        self._moved, self._longest = 0.0, 0.0
        """When something was done last, and the longest lease with its load that was begun."""
        self._events: list[Event] = []
        self._order, self._numbers = count(), count()
        self._orders, self._visits = iter(scenario.orders), iter(scenario.visits)
        self._coming = 2  # sources of orders and visits that are not at their end
        self._polling = False
        self._scaler = scaler
        dispatcher.start(self.farm, random.Random(f"{scenario.seed}/policy"))
        for site, nodes in scenario.nodes.items():
            for _ in range(nodes):
                self.join(site)
        self._next(self._orders, self._ordered)
        self._next(self._visits, self._visited)
        if scaler is not None:
            scaler.start(self)

    def run(self, until: float | None = None, progress: Callable[[int], None] | None = None) -> Figures:
        """Simulate until everything is done, or until an instant whatever is done by then.

        `progress` is told now and then how many leases have begun. Raises Stuck.
        """
        farm, events, scenario, steps = self.farm, self._events, self.scenario, 0
        while events and (until is not None or not self.is_done):
            if until is not None and events[0][0] > until:
                break
            farm.now, _, act, what = heapq.heappop(events)
            act(what)
            if farm.now - self._moved > scenario.patience:
                self._check_patience()
            steps += 1
            if progress is not None and steps % _STEPS == 0:
                progress(self.tally.hits + self.tally.loads)
        farm.now = farm.now if until is None else until
        return self.figures()

    @property
    def is_done(self) -> bool:
        return not self._coming and not self.jobs and not self.visits_open

    def _check_patience(self) -> None:
        """Nothing was done for long: because nothing was to do, or a lease takes as long, or the run is stuck."""
        if not self.jobs and not self.people:
            self._moved = self.farm.now
            return
        since = self.farm.now - self._moved
        if since < self.scenario.patience + _TRIES * self._longest:
            return
        reason = "no node took them" if self.farm.nodes else "no node came"
        if self.tally.lost:
            reason = f"nodes broke down before they had done a lease, {self.tally.lost} times"
        waiting = len(self.jobs) + len(self.people)
        raise Stuck(f"Nothing was done for {since / 3600:.0f} simulated hours though {waiting} waited: {reason}.")

    def figures(self) -> Figures:
        """What is known up to now; nodes that exist count up to this moment."""
        alive = self.farm.nodes.values()
        now = Tally(**{name: getattr(self.tally, name) for name in Tally.__dataclass_fields__})
        now.node_seconds = self.tally.node_seconds + sum(self.farm.now - node.came for node in alive)
        now.busy_seconds = [node.busy_seconds for node in alive if node.came == 0]
        return now.figures(self.dispatcher.name, self.farm.now)

    def at(self, when: float, act: Callable[..., None], what: Any = None) -> None:
        """Let something happen at an instant."""
        heapq.heappush(self._events, (when, next(self._order), act, what))

    def _next(self, source: Iterator[Order | Visit], act: Callable[..., None]) -> None:
        coming = next(source, None)
        if coming is None:
            self._coming -= 1
        else:
            self.at(coming.at, act, coming)

    def _ordered(self, order: Order) -> None:
        self._next(self._orders, self._ordered)
        if not self.jobs:
            self._moved = self.farm.now
        job = Job(f"{next(self._numbers):010}", order, order.leases)
        self.jobs[job.id] = job
        self._offer(self.dispatcher.submit(job, order.leases))
        self._ask_later()
        if self._scaler is not None:
            self._scaler.ordered()

    def join(self, site: str) -> Node:
        """A node is there, and asks for work."""
        number = next(self._numbers)
        node = Node(f"n{number}", site, number, self.farm.now)
        self.farm.join(node)
        self.dispatcher.joined(node)
        if self.scenario.node_mtbf is not None:
            self.at(self.farm.now + self.chance.expovariate(1 / self.scenario.node_mtbf), self._broke, node)
        self._free(node)
        return node

    def leave(self, node: Node) -> None:
        """A node is gone; what it had in hand goes to others."""
        self.tally.node_seconds += self.farm.now - node.came
        job, node.job = node.job, None
        node.serial += 1
        self.farm.leave(node)
        woken = list(self.dispatcher.left(node))
        if job is not None:
            self.tally.lost += 1
            job.running -= 1
            job.unclaimed += 1
            woken += self.dispatcher.submit(job, 1)
        self._offer(woken)

    def _broke(self, node: Node) -> None:
        if self.farm.nodes.get(node.id) is node and not node.booked:
            self.leave(node)
            self.at(self.farm.now + self.scenario.repair, self._repaired, node.site)

    def _repaired(self, site: str) -> None:
        self.join(site)

    def _offer(self, nodes: Iterable[Node]) -> None:
        """Let idle nodes ask for work; if one is told to wait it asks again."""
        for node in list(nodes):
            if node.is_idle:
                self._ask(node)

    def _ask(self, node: Node) -> bool:
        picked = self.dispatcher.pick(node)
        if picked is None:
            self._ask_later()
            return False
        self._begin(node, *picked)
        return True

    def _ask_later(self) -> None:
        if self.dispatcher.waits and not self._polling:
            self._polling = True
            self.at(self.farm.now + self.scenario.poll, self._poll)

    def _poll(self, _: None) -> None:
        self._polling = False
        while sum(self._ask(node) for node in list(self.farm.spare())):
            pass

    def _begin(self, node: Node, job: Job, reason: str) -> None:
        farm, order, tally = self.farm, job.order, self.tally
        warm = order.model in node.held
        load = 0.0 if warm else farm.loads[order.model]
        farm.begin(node, order.model, farm.now + load + order.estimate)
        if job.began is None:
            job.began = farm.now
            tally.waits.append(farm.now - order.at)
        if warm:
            tally.hits += 1
        else:
            tally.loads += 1
        tally.reasons[reason] += 1
        if self.watch is not None:
            self.watch(farm.now, node, job, warm)
        job.unclaimed -= 1
        job.running += 1
        node.job = job
        node.serial += 1
        node.busy_seconds += load + order.seconds
        self._longest = max(self._longest, load + order.seconds)
        node.until = farm.now + load + order.seconds
        self.at(node.until, self._finished, (node, node.serial))

    def _finished(self, what: tuple[Node, int]) -> None:
        node, serial = what
        job = node.job
        if node.serial != serial or job is None:  # it broke down meanwhile
            return
        node.job = None
        self._moved = self.farm.now
        job.running -= 1
        if not job.running and not job.unclaimed:
            del self.jobs[job.id]
            self.tally.answers.append(self.farm.now - job.order.at)
        self._free(node)

    def _free(self, node: Node) -> None:
        """The node has nothing in hand: people come first."""
        if node.leaving:
            self.leave(node)
            return
        if self.people:
            self._book(node, self.people.popleft())
            return
        picked = self.dispatcher.pick(node)
        if picked is not None:
            self._begin(node, *picked)
        else:
            if not node.is_idle:
                self.farm.rest(node)
            self._ask_later()

    def _visited(self, visit: Visit) -> None:
        self._next(self._visits, self._visited)
        if not self.jobs and not self.people:
            self._moved = self.farm.now
        self.visits_open += 1
        idle = {node.id: node for node in self.idle_nodes()}
        best = booking.best([booking.Free(node.id, visit.model in node.held, len(node.held)) for node in idle.values()])
        if best:
            self._book(idle[best[0].id], visit)
        else:
            self.people.append(visit)

    def idle_nodes(self) -> Iterator[Node]:
        for kinds in self.farm.idle.values():
            for nodes in kinds:
                yield from nodes

    def _book(self, node: Node, visit: Visit) -> None:
        farm = self.farm
        load = 0.0 if visit.model in node.held else farm.loads[visit.model]
        self.tally.session_waits.append(farm.now - visit.at + load)
        farm.begin(node, visit.model, farm.now + load + visit.seconds)
        node.booked = True
        node.serial += 1
        node.busy_seconds += load + visit.seconds
        self._longest = max(self._longest, load + visit.seconds)
        node.until = farm.now + load + visit.seconds
        self.at(node.until, self._ended, node)

    def _ended(self, node: Node) -> None:
        node.booked = False
        self._moved = self.farm.now
        self.visits_open -= 1
        self._free(node)
