"""Which job a node that asks for work should get: late binding with a streak bound.

A node serves a render model it holds, up to `streak_limit` leases in a row. It loads another model when no node holds
it, when waiting for its holders costs at least the load, or when its oldest job has waited long enough *and* this node
has no warm work or has used its streak up. Age alone never beats warmth: once a backlog is older than the limit every
job would be aged, hits would fall to chance, and the backlog would grow.

Priority classes come before all of this. Inside a class the turn of a job is the instant it was created, put back by
the node-seconds its owner was served lately, so that nobody holds the farm by having asked first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rrm.domain.orders import PRIORITIES

_DELIVERY = timedelta(seconds=10)  # for the upload, and for leaving in order
_RANK = {priority: rank for rank, priority in enumerate(reversed(PRIORITIES))}


class Reason(StrEnum):
    """Why a node got a job."""

    WARM = "warm"
    BREAK_EVEN = "break-even"
    AGED = "aged"
    NO_HOLDER = "no-holder"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node that is checked in and takes work. `held` are the models it holds or is loading."""

    id: str
    resource: str
    site: str
    held: frozenset[str] = frozenset()
    streak: int = 0
    busy_seconds: float = 0.0
    """Expected seconds until it can begin something else; 0 when idle."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job with tiles that no node has. Leave jobs out whose tiles are all leased or done."""

    id: str
    resource: str
    model: str
    owner: str
    priority: str
    created_at: datetime
    remaining_seconds: float
    """Node-seconds of rendering that nobody has claimed."""
    load_seconds: float = 0.0
    """What a node needs to load the model."""
    sites: frozenset[str] | None = None
    """The sites whose nodes may take a range now (see `open_sites`); None is any."""


@dataclass(frozen=True, slots=True)
class Policy:
    streak_limit: int = 16
    age_factor: float = 2.0
    """A job is aged once it has waited this many load times."""
    heads: int = 24
    """How many cold models to look at, oldest first."""


DEFAULTS = Policy()


@dataclass(frozen=True, slots=True)
class Choice:
    """The job a node gets, why, and the node's streak from then on."""

    job_id: str
    model: str
    reason: Reason
    streak: int

    @property
    def warm(self) -> bool:
        return self.reason is Reason.WARM


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds what: (resource, model) → site → how many nodes, and the seconds until the first of them is free."""

    by_model: Mapping[tuple[str, str], Mapping[str, tuple[int, float]]]

    @classmethod
    def of(cls, nodes: Iterable[NodeFacts]) -> Holders:
        found: dict[tuple[str, str], dict[str, tuple[int, float]]] = {}
        for node in nodes:
            for model in node.held:
                sites = found.setdefault((node.resource, model), {})
                count, soonest = sites.get(node.site, (0, node.busy_seconds))
                sites[node.site] = (count + 1, min(soonest, node.busy_seconds))
        return cls(found)

    def among(self, job: JobFacts) -> tuple[int, float]:
        """How many nodes hold the job's model where it may run, and when the first of them is free (0 if none)."""
        sites = self.by_model.get((job.resource, job.model), {})
        able = [facts for site, facts in sites.items() if job.sites is None or site in job.sites]
        return sum(count for count, _ in able), min((soonest for _, soonest in able), default=0.0)


@dataclass(slots=True)
class _Queue:
    """The jobs of one model in one class that this node may run: the head, and the work of all."""

    head: JobFacts
    turn: datetime
    seconds: float = field(default=0.0)


def open_sites(policy: str, listed: Iterable[str], with_work: Iterable[str]) -> frozenset[str] | None:
    """Where a job may run now: "only" is where it says, "split" where a site's own share still has work."""
    if policy == "any":
        return None
    return frozenset(listed if policy == "only" else with_work)


def may_run(node: NodeFacts, job: JobFacts) -> bool:
    return job.resource == node.resource and (job.sites is None or node.site in job.sites)


def is_done_before(end: datetime, work: timedelta, now: datetime) -> bool:
    """Whether work begun now is delivered before a node ends; estimates are doubled, as tiles differ in cost."""
    return now + 2 * work + _DELIVERY <= end


def choose(
    node: NodeFacts,
    jobs: Iterable[JobFacts],
    holders: Holders,
    now: datetime,
    *,
    served: Mapping[str, float] | None = None,
    policy: Policy = DEFAULTS,
) -> Choice | None:
    """The job that `node` should take a range of; None when waiting is better or there is nothing it may run.

    `served` has the node-seconds each owner received lately. None means: be idle until a wake-up, at most for the
    `age_factor` load times after which the oldest job of a cold model is aged.
    """
    for queues in _classes(node, jobs, served or {}):
        warm = min((queue for model, queue in queues.items() if model in node.held), key=_turn, default=None)
        if warm is None or node.streak >= policy.streak_limit:
            cold = _cold(node, queues, holders, now, policy)
            if cold is not None:
                return cold
        if warm is not None:
            return Choice(warm.head.id, warm.head.model, Reason.WARM, node.streak + 1)
    return None


def _classes(node: NodeFacts, jobs: Iterable[JobFacts], served: Mapping[str, float]) -> Iterator[dict[str, _Queue]]:
    """What the node may run: queues by model, the most urgent class first."""
    classes: dict[int, dict[str, _Queue]] = {}
    for job in jobs:
        if may_run(node, job):
            turn = _turn_of(job, served)
            queues = classes.setdefault(_RANK[job.priority], {})
            queue = queues.get(job.model)
            if queue is None:
                queue = queues[job.model] = _Queue(job, turn)
            elif (turn, job.id) < (queue.turn, queue.head.id):
                queue.head, queue.turn = job, turn
            queue.seconds += job.remaining_seconds
    for rank in sorted(classes):
        yield classes[rank]


def _turn_of(job: JobFacts, served: Mapping[str, float]) -> datetime:
    return job.created_at + timedelta(seconds=served.get(job.owner, 0.0))


def _turn(queue: _Queue) -> tuple[datetime, str]:
    return queue.turn, queue.head.id


def _cold(
    node: NodeFacts, queues: Mapping[str, _Queue], holders: Holders, now: datetime, policy: Policy
) -> Choice | None:
    """The oldest job of a model this node lacks that is worth the load now."""
    cold = (queue for model, queue in queues.items() if model not in node.held)
    for queue in heapq.nsmallest(policy.heads, cold, key=_turn):
        reason = _worth_loading(queue, holders, now, policy)
        if reason is not None:
            return Choice(queue.head.id, queue.head.model, reason, 0)
    return None


def _worth_loading(queue: _Queue, holders: Holders, now: datetime, policy: Policy) -> Reason | None:
    head = queue.head
    count, soonest = holders.among(head)
    if count == 0:
        return Reason.NO_HOLDER
    if soonest + queue.seconds / count >= head.load_seconds:
        return Reason.BREAK_EVEN
    if (now - head.created_at).total_seconds() >= policy.age_factor * head.load_seconds:
        return Reason.AGED
    return None


def why_waiting(job: JobFacts, jobs: Sequence[JobFacts], nodes: Sequence[NodeFacts], starting: int = 0) -> str:
    """One sentence that tells the owner of a job with unclaimed tiles what it waits for.

    `nodes` are all that take work, `starting` how many of the job's resource have been asked for and not checked in.
    """
    where = repr(job.resource) if job.sites is None else f"{job.resource!r} at {', '.join(sorted(job.sites))}"
    able = [node for node in nodes if may_run(node, job)]
    free = [node for node in able if node.busy_seconds == 0]
    if not able:
        return (
            f"{_nodes(starting)} of {where} {_be(starting)} starting."
            if starting
            else f"No node of {where} runs or is starting."
        )
    if any(job.model in node.held for node in free):
        return "A node that holds its model is free and asks for work next."
    count, soonest = Holders.of(able).among(job)
    if free and count:
        return f"A node that holds its model is free in about {soonest:.0f} s, sooner than another could load it."
    if free:
        return "A node is free and loads its model when it asks for work next."
    ahead = sum(_before(other, job) for other in jobs if other.resource == job.resource)
    others = f"{ahead} other job{'' if ahead == 1 else 's'}"
    return f"{_nodes(len(able))} of {where} {_be(len(able))} busy, with {others} ahead of it."


def _before(other: JobFacts, job: JobFacts) -> bool:
    return (_RANK[other.priority], other.created_at, other.id) < (_RANK[job.priority], job.created_at, job.id)


def _nodes(number: int) -> str:
    return f"{number} node{'' if number == 1 else 's'}"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"
