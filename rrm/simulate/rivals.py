"""What others do: placement at arrival, and late binding by other rules; behind the same interface as ours."""

from __future__ import annotations

import hashlib
import math
import random
import sys
from abc import ABC, abstractmethod
from bisect import bisect, insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

from rrm.domain.scheduling import Policy
from rrm.simulate.dispatch import Dispatcher, StreakBound, first_asked
from rrm.simulate.farm import Farm, Job, Node

_POINTS = 100  # of each node on the ring


class Push(ABC):
    """Placement at arrival: each lease goes to the queue of one node, which serves it in order."""

    name = "push"
    waits = False

    def __init__(self) -> None:
        self.stranded: list[Job] = []
        """Leases that came while there was no node."""

    def start(self, farm: Farm, chance: random.Random) -> None:
        self.farm, self.chance = farm, chance

    def submit(self, job: Job, leases: int) -> Iterable[Node]:
        return [node for _ in range(leases) for node in self._put(job)]

    def _put(self, job: Job) -> list[Node]:
        nodes = list(self.farm.nodes.values())
        if not nodes:
            self.stranded.append(job)
            return []
        node = self.place(job, nodes)
        node.queue.append(job)
        return [node] if node.is_idle else []

    @abstractmethod
    def place(self, job: Job, nodes: list[Node]) -> Node:
        """Which of the nodes gets it."""

    def pick(self, node: Node) -> tuple[Job, str] | None:
        return (node.queue.popleft(), self.name) if node.queue else None

    def left(self, node: Node) -> Iterable[Node]:
        homeless, node.queue = node.queue, deque[Job]()
        return [woken for job in homeless for woken in self._put(job)]

    def joined(self, node: Node) -> None:
        homeless, self.stranded = self.stranded, []
        for job in homeless:
            self._put(job)


class LeastLoaded(Push):
    """The better of two nodes drawn at random: what most services have in front of them."""

    name = "least loaded (P2C)"

    def place(self, job: Job, nodes: list[Node]) -> Node:
        return min(self.chance.choices(nodes, k=2), key=lambda node: node.outstanding)


class ConsistentHash(Push):
    """Each model has its node, by a ring of hashes; `slack` None, or how far above the mean a node may be filled."""

    def __init__(self, slack: float | None = None) -> None:
        super().__init__()
        self.slack = slack
        self.name = "consistent hash" if slack is None else f"consistent hash, bounded {slack:g}"
        self._ring: list[tuple[int, int, Node]] = []

    def joined(self, node: Node) -> None:
        for point in range(_POINTS):
            insort(self._ring, (_hash(f"{node.id}/{point}"), node.number, node))
        super().joined(node)

    def left(self, node: Node) -> Iterable[Node]:
        self._ring = [entry for entry in self._ring if entry[2] is not node]
        return super().left(node)

    def place(self, job: Job, nodes: list[Node]) -> Node:
        able = dict.fromkeys(nodes)
        most = math.inf
        if self.slack is not None:
            most = math.ceil((1 + self.slack) * (sum(node.outstanding for node in nodes) + 1) / len(nodes))
        return next(node for node in self._from(job.model) if node in able and node.outstanding < most)

    def _from(self, model: str) -> Iterator[Node]:
        begin = bisect(self._ring, (_hash(model), 0))
        for entry in self._ring[begin:] + self._ring[:begin]:
            yield entry[2]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Score(Push):
    """The best of all nodes by: 1 if it holds or will hold the model, less `beta` times its load beside the fullest."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.name = f"score, warm - {beta:g} load"

    def place(self, job: Job, nodes: list[Node]) -> Node:
        mean = max(1.0, sum(node.outstanding for node in nodes) / len(nodes))

        def score(node: Node) -> tuple[float, int, float]:
            warm = job.model in node.held or any(other.model == job.model for other in node.queue)
            return warm - self.beta * node.outstanding / mean, -node.outstanding, self.chance.random()

        return max(nodes, key=score)


class Shelf(ABC):
    """Late binding by age: all jobs wait together, and a node that is free takes one by the rule of `next`."""

    name = "shelf"

    def __init__(self) -> None:
        self.by_age: deque[Job] = deque()
        self.by_model: dict[str, deque[Job]] = {}
        self.waiting: Counter[str] = Counter()
        """How many leases of each model wait."""

    @property
    def waits(self) -> bool:
        return bool(self.waiting)

    def start(self, farm: Farm, chance: random.Random) -> None:
        self.farm = farm

    def submit(self, job: Job, leases: int) -> Iterable[Node]:
        self.waiting[job.model] += leases
        queue = self.by_model.setdefault(job.model, deque())
        if leases == job.order.leases:
            self.by_age.append(job)
            queue.append(job)
        else:  # it came back, and is the oldest of those that can be
            self.by_age.appendleft(job)
            queue.appendleft(job)
        return first_asked(self.farm, job.model)

    def pick(self, node: Node) -> tuple[Job, str] | None:
        job = self.next(node) if self.waiting else None
        if job is None:
            return None
        self.waiting[job.model] -= 1
        if not self.waiting[job.model]:
            del self.waiting[job.model]
        return job, self.name

    @abstractmethod
    def next(self, node: Node) -> Job | None:
        """Whose lease the node does; None if it is to wait. Something waits."""

    def heads(self, models: Iterable[str]) -> Iterator[Job]:
        """The oldest job of each of the models that has any."""
        for model in models:
            job = _first(self.by_model[model]) if model in self.waiting else None
            if job is not None:
                yield job

    def warmest(self, node: Node) -> Job | None:
        """The oldest job of a model that the node holds."""
        return min(self.heads(node.held), key=_age, default=None)

    def oldest(self) -> Job | None:
        return _first(self.by_age)

    def left(self, node: Node) -> Iterable[Node]:
        return self.farm.spare()

    def joined(self, node: Node) -> None:  # noqa: B027 - it asks by itself
        pass


def _first(queue: deque[Job]) -> Job | None:
    """The first job that has work which nobody claimed; those without are let go."""
    while queue and not queue[0].unclaimed:
        queue.popleft()
    return queue[0] if queue else None


def _age(job: Job) -> tuple[float, str]:
    return job.order.at, job.id


class Exhaustive(Shelf):
    """A node takes the oldest job of a model it holds, however long; without any, the oldest of all."""

    name = "exhaustive: warm, else any"

    def next(self, node: Node) -> Job | None:
        return self.warmest(node) or self.oldest()


class Delay(Shelf):
    """Jobs in order of age. One whose model only others hold is skipped until it has waited `factor` load times."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.name = f"delay scheduling D={factor:g}L" if factor else "warm node if free, else any"

    def next(self, node: Node) -> Job | None:
        # Of one model only the oldest job can be first: it waits for the same nodes, and is due before the others.
        able = (job for job in self.heads(self.waiting) if job.model in node.held or self._is_due(job))
        return min(able, key=_age, default=None)

    def _is_due(self, job: Job) -> bool:
        waited = self.farm.now - job.order.at
        return waited >= self.factor * self.farm.loads[job.model] or not self.farm.is_held(job.model)


class CostOnly(Shelf):
    """The job that costs least: its load where the node lacks the model, less the time that it has waited.

    A load that takes longer than to wait for those who hold the model is out of the question.
    """

    name = "cost only: load - waited"

    def next(self, node: Node) -> Job | None:
        found: tuple[float, str] | None = None
        first: Job | None = None
        for job in self.heads(self.waiting):
            load = 0.0 if job.model in node.held else self.farm.loads[job.model]
            cost = load + job.order.at, job.id
            if (found is None or cost < found) and (not load or self._wait(job) >= load):
                found, first = cost, job
        return first

    def _wait(self, job: Job) -> float:
        """Until those who hold the model have done what waits of it before one more lease; endless if nobody does."""
        sites = self.farm.holding.get(job.model)
        if not sites:
            return math.inf
        soonest = min(holding.seconds_from(self.farm.now) for holding in sites.values())
        ahead = (self.waiting[job.model] - 1) * job.order.estimate
        return soonest + ahead / sum(len(holding.nodes) for holding in sites.values())


def endless() -> StreakBound:
    """Ours without its two limits: a node never leaves warm work, and age counts for nothing."""
    return StreakBound(Policy(streak_limit=sys.maxsize, age_factor=math.inf), "warm, else what pays")


RIVALS: dict[str, Callable[[], Dispatcher]] = {
    "least": LeastLoaded,
    "hash": ConsistentHash,
    "bounded": lambda: ConsistentHash(0.25),
    "score1": lambda: Score(1.0),
    "score.25": lambda: Score(0.25),
    "any": lambda: Delay(0.0),
    "exhaustive": Exhaustive,
    "delay": lambda: Delay(1.0),
    "cost": CostOnly,
    "endless": endless,
}
OURS: dict[str, Callable[[], Dispatcher]] = {
    "k4": lambda: StreakBound(Policy(streak_limit=4)),
    "k16": StreakBound,
    "k32": lambda: StreakBound(Policy(streak_limit=32, age_factor=4.0)),
}
ALL = RIVALS | OURS
