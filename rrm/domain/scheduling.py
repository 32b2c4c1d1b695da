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

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from operator import attrgetter

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
    PRELOAD = "preload"
    """Nobody needs the model yet."""


@dataclass(frozen=True, slots=True)
class Policy:
    streak_limit: int = 16
    streak_loads: float = 6.0
    """How many times the load at stake a streak lasts at least."""
    age_factor: float = 2.0
    """A job is aged once it has waited this many load times."""
    heads: int = 24
    """How many cold models to look at, those first whose turn is next."""
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
    asking = Asking(node, rounds or {}, full, lambda job: node.id not in job.refused and is_in_time(node, job, now))
    market = _Market(asking, holders, now, policy)
    for waiting in queues.classes(node.resource):
        found = (waiting.queue(model, asking) for model in node.held)
        mine = (queue for queue in found if queue is not None and not market.is_left_to_others(queue))
        warm = min(mine, key=attrgetter("turn"), default=None)
        cold = market.cold(waiting, warm)
        if cold is not None:
            return cold
        if warm is not None:
            return Choice(warm.head.id, warm.head.model, Reason.WARM, node.streak + 1, node.streak_since)
    return None


@dataclass(frozen=True, slots=True)
class _Market:
    """One decision: who asks, who holds what, and the rules."""

    asking: Asking
    holders: Holders
    now: datetime
    policy: Policy

    def cold(self, waiting: QueuesOfClass, warm: Queue | None) -> Choice | None:
        """The first job of a model that the node lacks that is worth the load now, rather than `warm`."""
        node = self.asking.node
        if not node.may_load:
            return None
        is_used_up = warm is None or node.streak >= self.policy.streak_limit
        # In its streak a node does nothing for those behind.
        ahead = None if is_used_up or warm is None else warm.turn
        for queue in islice(waiting.cold(self.asking, ahead), self.policy.heads):
            if queue.head.is_loadable and not self.is_left_to_others(queue):
                choice = self._light(queue, warm) or (self._heavy(queue, warm) if is_used_up else None)
                if choice is not None:
                    return choice
        return None

    def _light(self, queue: Queue, warm: Queue | None) -> Choice | None:
        head, node = queue.head, self.asking.node
        if not head.is_light or (warm is not None and warm.turn < queue.turn):
            return None
        reason = Reason.BREAK_EVEN if self.holders.among(head)[0] else Reason.NO_HOLDER
        return Choice(head.id, head.model, reason, node.streak + 1, node.streak_since)

    def _heavy(self, queue: Queue, warm: Queue | None) -> Choice | None:
        head, since = queue.head, self.asking.node.streak_since
        if warm is not None and since is not None:
            if (self.now - since).total_seconds() < self.policy.streak_loads * head.load_seconds:
                return None
        reason = self._worth_loading(queue, is_in_turn=warm is None or queue.turn[0] <= warm.turn[0])
        if reason is None:
            return None
        return Choice(head.id, head.model, reason, 0, self.now + timedelta(seconds=head.load_seconds))

    def _worth_loading(self, queue: Queue, *, is_in_turn: bool) -> Reason | None:
        """Why; a job whose owner is rounds ahead of the warm one's has to be aged for it."""
        head = queue.head
        is_aged = (self.now - head.created_at).total_seconds() >= self.policy.age_factor * head.load_seconds
        if is_in_turn or is_aged:
            count, soonest = self.holders.among(head)
            if count == 0:
                return Reason.NO_HOLDER
            if soonest + queue.seconds / count >= head.load_seconds:
                return Reason.BREAK_EVEN
        return Reason.AGED if is_aged else None

    def is_left_to_others(self, queue: Queue) -> bool:
        """Whether free nodes of sites that the resource prefers are about to take all of this."""
        node, head = self.asking.node, queue.head
        if node.rank == 0:
            return False
        holders = self.holders.by_model.get((head.resource, head.model), {})
        free, waited, load = 0, self.policy.spill_seconds, head.load_seconds
        for site, nodes in self.holders.free.get(node.resource, {}).items():
            if nodes.rank < node.rank and (head.sites is None or site in head.sites):
                free += nodes.count
                since = max(head.created_at, nodes.since) if nodes.since else head.created_at
                waited = min(waited, (self.now - since).total_seconds())
                if site in holders and holders[site][1] == 0:
                    load = 0.0
        if not free or waited >= self.policy.spill_seconds:
            return False
        return load + queue.seconds / free <= self.policy.soon_seconds
