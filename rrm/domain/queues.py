"""Jobs with unclaimed work in the order in which they are served, kept so that a decision looks at heads alone.

Jobs of one class and model that are alike in everything that decides who may run them and whose turn it is (their
`Kind`) form a *lane*, oldest first: whichever node asks and whatever their owner has had, only the first of a lane can
be next. The first jobs of all lanes of a kind are kept in order too, so that the next few models are found without a
look at the others.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from rrm.domain.facts import RANK, JobFacts, Kind, NodeFacts

_TRIMMED = 64  # entries before the head that are kept until they are half of the lane

Entry = tuple[datetime, str]
"""Since when a job waits (the deadline of one pressed by it), and its id."""
Turn = tuple[int, bool, datetime, str]
"""The owner's round, whether the job is not pressed by its deadline, and its entry; the lowest comes first."""


@dataclass(slots=True)
class Queue:
    """The jobs of one model in one class that a node may run: the next, its turn, and the work of all in seconds."""

    head: JobFacts
    turn: Turn
    seconds: float
    served_at: datetime | None = None
    """When a lease of the model was last given."""

    @property
    def waits_since(self) -> datetime:
        """Since when nobody does anything about it: what is served does not starve, however old it is."""
        since, head = self.head.created_at, self.head
        if self.served_at is not None and self.served_at > since:
            since = self.served_at
        if head.served_at is not None and head.served_at > since:
            since = head.served_at
        return since


@dataclass(slots=True)
class _Lane:
    """Jobs that differ in age alone. Removed ones stay in `entries` until they come to the front."""

    entries: list[Entry] = field(default_factory=list)
    first: int = 0
    jobs: dict[str, JobFacts] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def head(self) -> Entry | None:
        return self.entries[self.first] if self.jobs else None

    def begin(self, job_id: str) -> None:
        """A node turns to the job."""
        if not self.jobs[job_id].is_begun:
            self.jobs[job_id] = replace(self.jobs[job_id], is_begun=True)

    def remove(self, job_id: str) -> JobFacts:
        """The job is not to be found any more; entries are let go once enough of them are of such jobs."""
        job = self.jobs.pop(job_id)
        while self.first < len(self.entries) and self.entries[self.first][1] not in self.jobs:
            self.first += 1
        if self.first > _TRIMMED and 2 * self.first > len(self.entries):
            del self.entries[: self.first]
            self.first = 0
        return job

    def next_for(self, asking: Asking) -> Entry | None:
        """The oldest job that has nothing against the node; nearly always the head."""
        head, suits = self.head, asking.suits
        if suits is None or head is None or suits(self.jobs[head[1]]):
            return head
        for at in range(self.first + 1, len(self.entries)):
            job = self.jobs.get(self.entries[at][1])
            if job is not None and suits(job):
                return self.entries[at]
        return None


class Asking(NamedTuple):
    """What one decision goes by: the node that asks, the rounds of owners, and the owners at their limit of nodes."""

    node: NodeFacts
    rounds: Mapping[str, int]
    full: Collection[str]
    suits: Callable[[JobFacts], bool] | None
    """Whether a job has nothing against the node; None: none has."""

    def may_take(self, kind: Kind) -> bool:
        node = self.node
        return (kind.sites is None or node.site in kind.sites) and (
            kind.owner not in self.full or kind.owner in node.works_for
        )

    def turn(self, kind: Kind, entry: Entry) -> Turn:
        return (self.rounds.get(kind.owner, 0), not kind.pressed, *entry)


@dataclass(slots=True, eq=False)
class QueuesOfClass:
    """What waits in one priority class of one resource."""

    lanes: dict[str, dict[Kind, _Lane]] = field(default_factory=dict)
    heads: dict[Kind, list[tuple[datetime, str, str]]] = field(default_factory=dict)
    """The head of each lane of a kind: since when it waits, its id and model; oldest first."""
    served: dict[str, datetime] = field(default_factory=dict)
    """When a lease of a model that waits was last given."""
    least_load: float = math.inf
    """No job that waits has a shorter load, in seconds."""
    changes: int = 0

    def queue(self, model: str, asking: Asking) -> Queue | None:
        """What the node may run of `model`."""
        found: Queue | None = None
        lanes = self.lanes.get(model)
        if lanes is None:
            return None
        for kind, lane in lanes.items():
            entry = lane.next_for(asking) if asking.may_take(kind) else None
            if entry is None:
                continue
            turn = asking.turn(kind, entry)
            if found is None:
                found = Queue(lane.jobs[entry[1]], turn, lane.seconds, self.served.get(model))
                continue
            found.seconds += lane.seconds
            if turn < found.turn:
                found.head, found.turn = lane.jobs[entry[1]], turn
        return found

    def cold(self, asking: Asking, before: Turn | None = None) -> Iterator[Queue]:
        """The queues of models that the node lacks and may load, the one whose turn is next first.

        With `before` only light ones whose turn is before that: what a node looks at that has a warm job and a streak.
        """
        loadable = [kind for kind in self.heads if kind.is_loadable and (before is None or kind.is_light)]
        able = [kind for kind in loadable if asking.may_take(kind)]
        in_turn = [_in_turn(self.heads[kind], kind, asking) for kind in able]
        seen = set(asking.node.held)
        for turn, model in in_turn[0] if len(in_turn) == 1 else heapq.merge(*in_turn):
            if before is not None and turn > before:
                return
            if model in seen:
                continue
            seen.add(model)
            lanes, queue = self.lanes[model], None
            if len(lanes) == 1 and asking.suits is None:
                [lane] = lanes.values()
                queue = Queue(lane.jobs[turn[3]], turn, lane.seconds, self.served.get(model))
            else:
                queue = self.queue(model, asking)
            if queue is not None and queue.head.is_loadable:
                yield queue

    def replace_head(self, kind: Kind, model: str, old: Entry | None, new: Entry | None) -> None:
        """Note that another job is now the first of a lane."""
        if old == new:
            return
        heads = self.heads.setdefault(kind, [])
        if old is not None:
            del heads[bisect_left(heads, (*old, model))]
        if new is not None:
            insort(heads, (*new, model))
        if not heads:
            del self.heads[kind]


def _in_turn(heads: Iterable[tuple[datetime, str, str]], kind: Kind, asking: Asking) -> Iterator[tuple[Turn, str]]:
    first, second = asking.rounds.get(kind.owner, 0), not kind.pressed
    return (((first, second, at, id_), model) for at, id_, model in heads)


@dataclass(slots=True)
class _Place:
    """Where a job is kept, and how many seconds of its work nobody has."""

    queues: QueuesOfClass
    lane: _Lane
    kind: Kind
    remaining: float


class Queues:
    """Jobs with unclaimed work. To add one, or to claim a part of one, costs no look at the others."""

    def __init__(self, jobs: Iterable[JobFacts] = ()) -> None:
        self._classes: dict[str, dict[int, QueuesOfClass]] = {}
        self._places: dict[str, _Place] = {}
        self.exceptions = 0
        """How many jobs some nodes should leave to others."""
        for job in jobs:
            self.add(job)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, job: JobFacts) -> None:
        """A job that has work for nodes. Its id is not among those known."""
        queues = self._classes.setdefault(job.resource, {}).setdefault(RANK[job.priority], QueuesOfClass())
        kind = job.kind
        lane = queues.lanes.setdefault(job.model, {}).setdefault(kind, _Lane())
        before = lane.head
        entry = _entry(job)
        if not lane.entries or entry > lane.entries[-1]:
            lane.entries.append(entry)
        else:
            insort(lane.entries, entry, lo=lane.first)
        lane.jobs[job.id] = job
        lane.seconds += job.remaining_seconds
        queues.least_load = min(queues.least_load, job.load_seconds)
        queues.changes += 1
        self._places[job.id] = _Place(queues, lane, kind, job.remaining_seconds)
        self.exceptions += bool(job.refused)
        if before is None or entry < before:
            queues.replace_head(kind, job.model, before, entry)

    def claim(self, job: JobFacts, seconds: float, now: datetime | None = None) -> None:
        """A part of the job is with a node now: so many seconds of its work."""
        place = self._places[job.id]
        taken = min(seconds, place.remaining)
        place.lane.seconds -= taken
        place.remaining -= taken
        place.lane.begin(job.id)
        place.queues.changes += 1
        if now is not None:
            place.queues.served[job.model] = now

    def remove(self, job: JobFacts) -> None:
        """The job has no unclaimed work any more, or is not offered."""
        place = self._places.pop(job.id)
        queues, lane, kind = place.queues, place.lane, place.kind
        before = lane.head
        queues.changes += 1
        lane.seconds -= place.remaining
        self.exceptions -= bool(lane.remove(job.id).refused)
        queues.replace_head(kind, job.model, before, lane.head)
        if not lane.jobs:
            lanes = queues.lanes[job.model]
            del lanes[kind]
            if not lanes:
                del queues.lanes[job.model]
                queues.served.pop(job.model, None)

    def classes(self, resource: str) -> Iterator[QueuesOfClass]:
        """What waits for nodes of the resource, the most urgent class first."""
        classes = self._classes.get(resource, {})
        for rank in sorted(classes):
            if classes[rank].lanes:
                yield classes[rank]


def _entry(job: JobFacts) -> Entry:
    return (job.deadline if job.pressed and job.deadline else job.created_at), job.id
