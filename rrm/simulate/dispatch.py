"""How orders come to nodes: one interface for our policy and its rivals."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from rrm.domain.facts import JobFacts, NodeFacts
from rrm.domain.fairness import Ledger
from rrm.domain.queues import Queues
from rrm.domain.scheduling import DEFAULTS, Policy, choose
from rrm.simulate.farm import RESOURCE, Farm, FarmHolders, HeldBy, Job, Node

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


def instant(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


class Dispatcher(Protocol):
    """Decides which lease a node does next. It is told of all that it may know: orders, and leases that came back."""

    name: str

    @property
    def waits(self) -> bool:
        """Whether there is work that a node which was told to wait may get later."""

    def start(self, farm: Farm, chance: random.Random) -> None:
        """The farm that is to be served, empty as yet."""

    def submit(self, job: Job, leases: int) -> Iterable[Node]:
        """So many leases of a job are offered: all of a new one, or some that came back.

        Returns idle nodes that could begin now.
        """

    def pick(self, node: Node) -> tuple[Job, str] | None:
        """Whose lease the idle node does now, and why."""

    def left(self, node: Node) -> Iterable[Node]:
        """A node is gone. Returns idle nodes that could take over what was meant for it."""

    def joined(self, node: Node) -> None:
        """A node is new."""


def first_asked(farm: Farm, model: str) -> Iterable[Node]:
    """Whom a new job makes ask at once: an idle holder, or others if nobody holds its model.

    Where others hold it, whether to load it as well can wait until nodes ask by themselves.
    """
    if not farm.is_held(model):
        return farm.spare()
    holder = farm.idle_holder(model)
    return () if holder is None else (holder,)


class StreakBound:
    """The policy of the service itself: jobs wait together, and a node that is free is told which of them is next."""

    def __init__(self, policy: Policy = DEFAULTS, name: str = "") -> None:
        self.policy = policy
        self.name = name or f"streak bound K={policy.streak_limit} A={policy.age_factor:g}L"
        self.queues = Queues()
        self.jobs: dict[str, tuple[Job, JobFacts]] = {}
        self.ledger = Ledger()
        self.asking: Counter[str] = Counter()
        """How many jobs of each owner wait."""

    @property
    def waits(self) -> bool:
        return bool(self.jobs)

    def start(self, farm: Farm, chance: random.Random) -> None:
        self.farm = farm
        self.holders = FarmHolders(HeldBy(farm), farm=farm)

    def submit(self, job: Job, leases: int) -> Iterable[Node]:
        known = self.jobs.get(job.id)
        if known is not None:
            self.queues.remove(known[1])
        else:
            self._joins(job.order.owner)
        facts = self._facts(job)
        self.queues.add(facts)
        self.jobs[job.id] = job, facts
        return first_asked(self.farm, job.model)

    def _joins(self, owner: str) -> None:
        if not self.asking[owner]:
            self.ledger.join(owner, self.asking.keys())
        self.asking[owner] += 1

    def _facts(self, job: Job) -> JobFacts:
        order = job.order
        return JobFacts(
            id=job.id,
            resource=RESOURCE,
            model=order.model,
            owner=order.owner,
            priority=order.priority,
            created_at=instant(order.at),
            remaining_seconds=job.unclaimed * order.estimate,
            load_seconds=self.farm.loads[order.model],
            lease_seconds=order.estimate,
            is_begun=job.began is not None,
        )

    def pick(self, node: Node) -> tuple[Job, str] | None:
        if not self.jobs:
            return None
        facts = NodeFacts(
            node.id,
            RESOURCE,
            node.site,
            node.models,
            node.streak,
            streak_since=node.streak_since,
            free_since=instant(node.idle_since) if node.is_idle else None,
        )
        rounds = self.ledger if len(self.asking) > 1 else None
        now = instant(self.farm.now)
        choice = choose(facts, self.queues, self.holders, now, rounds=rounds, policy=self.policy)
        if choice is None:
            return None
        node.streak, node.streak_since = choice.streak, choice.streak_since
        return self._claimed(choice.job_id, now), choice.reason

    def _claimed(self, job_id: str, now: datetime) -> Job:
        job, known = self.jobs[job_id]
        owner = job.order.owner
        self.ledger.charge(owner, job.order.estimate)
        self.queues.claim(known, job.order.estimate, now)
        if job.unclaimed > 1:
            return job
        self.queues.remove(known)
        del self.jobs[job.id]
        self.asking[owner] -= 1
        if not self.asking[owner]:
            del self.asking[owner]
        return job

    def left(self, node: Node) -> Iterable[Node]:
        return self.farm.spare()

    def joined(self, node: Node) -> None:
        pass
