"""Which job a node that asks for work should get: late binding with a streak bound.

A node serves a render model it holds. It loads another when its *streak* is used up (or it has no warm work) and no
node holds that model, or waiting for its holders costs at least the load, or its oldest job has waited long. Age alone
never beats warmth: once a backlog is older than the limit every job would be aged, hits would fall to chance, and the
backlog would grow.

A streak is used up after `streak_limit` leases that took, since the last load, `streak_loads` times as long as the
load at stake would. Leases are short, loads need not be: counted alone, sixteen leases of half a second would be worth
a minute of loading. So a node spends at most 1 / (1 + streak_loads) of its time on loads that it could do without, and
a farm is stable up to a load of streak_loads / (1 + streak_loads), however small leases are.

A model that loads in a small part of a lease is as good as held: its jobs come in their turn.

Priority classes come before all of this. Inside a class turns go by the rounds of owners (`domain.fairness`); in one
round jobs that would miss their deadline come first, then the oldest.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from rrm.domain.facts import Holders, JobFacts, NodeFacts, is_in_time
from rrm.domain.queues import Asking, Queue, Queues, QueuesOfClass


class Reason(StrEnum):
    """Why a node got a job."""

    WARM = "warm"
    BREAK_EVEN = "break-even"
    AGED = "aged"
    NO_HOLDER = "no-holder"
    COPY = "copy"
    """The node that has these tiles is slow."""


@dataclass(frozen=True, slots=True)
class Policy:
    streak_limit: int = 16
    streak_loads: float = 6.0
    """How many times the load at stake a streak lasts at least."""
    age_factor: float = 2.0
    """A job is aged once it has waited this many load times."""
    rest_seconds: float = 1.0
    """A node that had nothing to do for so long has time for a job that waits though its model is served."""
    heads: int = 24
    """How many cold models that the node may load to look at, those first whose turn is next."""
    looks: int = 240
    """How many to look at in all, with those that are left to others."""
    soon_seconds: float = 2.0
    """Free nodes of sites that come first get what they can begin and end within this time."""
    spill_seconds: float = 3.0
    """If they did not take it within this time they will not."""


DEFAULTS = Policy()


@dataclass(frozen=True, slots=True)
class Choice:
    """The job a node gets, why, and the node's streak from then on."""

    job_id: str
    model: str
    reason: Reason
    streak: int
    streak_since: datetime | None = None

    @property
    def warm(self) -> bool:
        return self.reason is Reason.WARM


def choose(
    node: NodeFacts,
    jobs: Iterable[JobFacts] | Queues,
    holders: Holders,
    now: datetime,
    *,
    rounds: Mapping[str, int] | None = None,
    full: Collection[str] = frozenset(),
    policy: Policy = DEFAULTS,
) -> Choice | None:
    """The job that `node` should take a range of; None when waiting is better or there is nothing it may run.

    `rounds` are those of owners (0 for others), `full` the owners that no further node may work for. None means: be
    idle until a wake-up, at most for the `age_factor` load times after which the oldest job of a cold model is aged.
    Who decides often keeps `Queues`.
    """
    queues = jobs if isinstance(jobs, Queues) else Queues(jobs)
    return Sitting(queues, holders, now, rounds=rounds, policy=policy).choose(node, full)


class Sitting:
    """`choose` for nodes that ask at one moment, while no node begins or ends a load.

    What is found of one node that has nothing to do, that no load is worth while, is so for all that are like it.
    """

    def __init__(
        self,
        queues: Queues,
        holders: Holders,
        now: datetime,
        *,
        rounds: Mapping[str, int] | None = None,
        policy: Policy = DEFAULTS,
    ) -> None:
        self._queues, self._rounds = queues, rounds or {}
        self._given = holders, now, policy
        self._fruitless: set[Hashable] = set()

    def choose(self, node: NodeFacts, full: Collection[str] = frozenset()) -> Choice | None:
        """The job that `node` should take a range of, with these owners at their limit; see the function `choose`."""
        queues, now = self._queues, self._given[1]
        suits = None
        if queues.exceptions or node.ends_at is not None:
            suits = lambda job: node.id not in job.refused and is_in_time(node, job, now)  # noqa: E731 - most need none
        asking = Asking(node, self._rounds, full, suits)
        market = _Market(asking, *self._given, self._fruitless)
        for waiting in queues.classes(node.resource):
            warm = market.warm(waiting)
            cold = market.cold(waiting, warm)
            if cold is not None:
                return cold
            if warm is not None:
                return Choice(warm.head.id, warm.head.model, Reason.WARM, node.streak + 1, node.streak_since)
        return None


class _Market(NamedTuple):
    """One decision: who asks, who holds what, and the rules."""

    asking: Asking
    holders: Holders
    now: datetime
    policy: Policy
    fruitless: set[Hashable]
    """What is known to be worth no load to nodes without work; see `_likeness`."""

    def warm(self, waiting: QueuesOfClass) -> Queue | None:
        """The work whose turn is next of a model that the node holds."""
        first: Queue | None = None
        for model in self.asking.node.held:
            queue = waiting.queue(model, self.asking)
            if queue is None or self.is_left_to_others(queue):
                continue
            if first is None or queue.turn < first.turn:
                first = queue
        return first

    def cold(self, waiting: QueuesOfClass, warm: Queue | None) -> Choice | None:
        """The first job of a model that the node lacks that is worth the load now, rather than `warm`."""
        node = self.asking.node
        if warm is not None and node.streak < self.policy.streak_limit:
            # In its streak a node does nothing for those behind.
            return self._first_light(waiting, warm)
        heavy = self._heavy(warm)
        if heavy.longest < waiting.least_load:
            return None
        likeness = self._likeness(waiting, heavy)
        if likeness in self.fruitless:
            return None
        choice = self._worth_while(waiting, heavy)
        if choice is None and likeness is not None:
            self.fruitless.add(likeness)
        return choice

    def _worth_while(self, waiting: QueuesOfClass, heavy: _Heavy) -> Choice | None:
        heads, may_be_left = self.policy.heads, self.asking.node.rank > 0
        for queue in islice(waiting.cold(self.asking), self.policy.looks):
            if may_be_left and self.is_left_to_others(queue):
                continue
            choice = self._light(queue, heavy.warm) if queue.head.is_light else heavy.look_at(queue)
            heads -= 1
            if choice is not None or not heads:
                return choice or heavy.another
        return heavy.another

    def _likeness(self, waiting: QueuesOfClass, heavy: _Heavy) -> Hashable:
        """What a node without work has in common with all to which the same loads are worth while; None: nothing."""
        node, full = self.asking.node, self.asking.full
        if heavy.warm is not None or self.asking.suits is not None or not waiting.lanes.keys().isdisjoint(node.held):
            return None
        works_for = node.works_for if full else None
        return waiting, waiting.changes, node.site, node.rank, heavy.has_rested, frozenset(full), works_for

    def _first_light(self, waiting: QueuesOfClass, warm: Queue) -> Choice | None:
        """What is as good as held and comes before `warm`."""
        for queue in islice(waiting.cold(self.asking, warm.turn), self.policy.looks):
            if self.is_left_to_others(queue):
                continue
            choice = self._light(queue, warm)
            if choice is not None:
                return choice
        return None

    def _heavy(self, warm: Queue | None) -> _Heavy:
        node, policy = self.asking.node, self.policy
        if warm is None:
            return _Heavy(self, None, math.inf, self._seconds_since(node.free_since, 0.0) >= policy.rest_seconds)
        lasted = self._seconds_since(node.streak_since, math.inf)
        return _Heavy(self, warm, lasted / policy.streak_loads if policy.streak_loads else math.inf, has_rested=False)

    def _seconds_since(self, at: datetime | None, unknown: float) -> float:
        return unknown if at is None else (self.now - at).total_seconds()

    def _light(self, queue: Queue, warm: Queue | None) -> Choice | None:
        head, node = queue.head, self.asking.node
        if warm is not None and warm.turn < queue.turn:
            return None
        reason = Reason.BREAK_EVEN if self.holders.among(head)[0] else Reason.NO_HOLDER
        return Choice(head.id, head.model, reason, node.streak + 1, node.streak_since)

    def is_left_to_others(self, queue: Queue) -> bool:
        """Whether free nodes of sites that the resource prefers are about to take all of this."""
        node, head = self.asking.node, queue.head
        if node.rank == 0:
            return False
        holders = self.holders.by_model.get((head.resource, head.model), {})
        free, waited, load = 0, self.policy.spill_seconds, head.load_seconds
        for site, idle in self.holders.free.get(node.resource, {}).items():
            if idle.rank < node.rank and (head.sites is None or site in head.sites):
                free += idle.nodes
                since = max(head.created_at, idle.since) if idle.since else head.created_at
                waited = min(waited, (self.now - since).total_seconds())
                if site in holders and holders[site][1] == 0:
                    load = 0.0
        if not free or waited >= self.policy.spill_seconds:
            return False
        return load + queue.seconds / free <= self.policy.soon_seconds


@dataclass(slots=True)
class _Heavy:
    """Whether a node whose streak is used up is to load a model that keeps it waiting: heads are looked at in turn."""

    market: _Market
    warm: Queue | None
    longest: float
    """The seconds of the longest load that the streak is worth."""
    has_rested: bool
    """The node has nothing else to do, and had not a moment ago."""
    is_over: bool = False
    """The next load is for an aged job, whenever that is: smaller ones would delay it."""
    another: Choice | None = None
    """More nodes for a model that some hold: if none of the other models is without."""
    share: float = 0.0
    """The work that each of these nodes would have, in seconds."""

    def look_at(self, queue: Queue) -> Choice | None:
        """The choice of this head, if it is better than to look at the next."""
        if self.is_over:
            return None
        is_aged = self._is_aged(queue)
        reason = self._reason(queue, is_aged=is_aged)
        if reason is None:
            self.is_over = is_aged
            return None
        head, now = queue.head, self.market.now
        choice = Choice(head.id, head.model, reason, 0, now + timedelta(seconds=head.load_seconds))
        if reason is Reason.BREAK_EVEN:
            if self.another is None:
                self.another, self.share = choice, queue.seconds / (self.market.holders.among(head)[0] + 1)
            return None
        return choice if reason is Reason.AGED or queue.seconds >= self.share else None

    def _reason(self, queue: Queue, *, is_aged: bool) -> Reason | None:
        head, warm = queue.head, self.warm
        if head.load_seconds > self.longest:
            return None
        if warm is not None and queue.turn[0] > warm.turn[0] and not is_aged:  # the owner is ahead, by rounds
            return None
        count, soonest = self.market.holders.among(head)
        if count == 0:
            return Reason.NO_HOLDER
        if is_aged:
            return Reason.AGED
        ahead = max(0.0, queue.seconds - head.lease_seconds)
        return Reason.BREAK_EVEN if soonest + ahead / count >= head.load_seconds else None

    def _is_aged(self, queue: Queue) -> bool:
        head, now = queue.head, self.market.now
        limit = self.market.policy.age_factor * head.load_seconds
        if (now - head.created_at).total_seconds() < limit:
            return False
        if self.has_rested and not head.is_begun:
            return True
        return (now - queue.waits_since).total_seconds() >= limit
