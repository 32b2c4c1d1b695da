"""What a plan of nodes goes by, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

TOLERANCE = 0.1
UP_PERIODS = 2
SHARP = 1.5  # times what exists, and one node: who wants more gets it though nodes were let go lately
DOWN_WINDOW = timedelta(minutes=10)
LEAST_IDLE = timedelta(minutes=5)
LONGEST_BACKOFF = timedelta(minutes=15)
FAILURES_ALLOWED = 5
USUAL_HIT_RATE = 16 / 17
"""Of leases, before any was counted: what a streak of 16 gives under backlog."""

Wanted = tuple[float, int]
"""An instant in POSIX seconds and how many nodes were wanted then."""


class Phase(StrEnum):
    """What a node counts as. A LEAVING node (draining, stopping) is not had any more, yet takes a place until gone."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Work:
    """Rendering still to do, queued and running, in node-seconds without loads.

    `ranges` bounds how many nodes could share it; `sites` are those that may run it, None for any. `load_seconds` is
    what loading its model takes a node.
    """

    seconds: float
    ranges: int
    sites: frozenset[str] | None = None
    model: str = ""
    load_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Demand:
    work: tuple[Work, ...] = ()
    sessions: int = 0
    """Those that have a node and those that wait for one: people, so what they lack is started at once."""
    models: frozenset[str] = frozenset()
    """The models that queued and running work needs, and those that somebody wants to be held."""
    preloads: int = 0
    """On how many nodes somebody wants a model to be held."""
    hit_rate: float | None = None
    """The part of the resource's leases that found their model loaded lately; None when there were none."""
    lease_seconds: float = 0.5
    """How much work one lease is: each of them may be a miss."""


@dataclass(frozen=True, slots=True)
class SupplyNode:
    id: str
    site: str
    phase: Phase
    idle_since: datetime | None = None
    models: frozenset[str] = frozenset()
    pinned: bool = False
    """It holds a pinned model, and is kept."""
    booked: bool = False
    """Somebody uses it: it is never taken away."""
    replace_at: datetime | None = None
    """From then on another is to be started in its place, as its time ends; None where it does not end."""
    retire_at: datetime | None = None
    """From then on it gets no more work."""


def few(have: int) -> int:
    """Up to how many wanted nodes are only a few more than exist."""
    return int(SHARP * have + 1)


@dataclass(frozen=True, slots=True)
class SiteRoom:
    """A site of the resource and how many more nodes it has room for, the nodes of all resources counted.

    Less than none where it has more than it may, those that leave among them.
    """

    id: str
    room: int
    machines: int = 1
    """How many nodes one launch there gives: a batch job may have several machines."""
    over: int = 0
    """How many of the nodes that stay there it may not have any more."""

    @property
    def whole(self) -> int:
        """How many nodes there is room for that whole launches give."""
        return max(self.room, 0) // self.machines * self.machines


@dataclass(frozen=True, slots=True)
class Limits:
    """What the resource allows; `sites` are the enabled ones in order of preference."""

    min_nodes: int
    max_nodes: int
    sites: tuple[SiteRoom, ...]
    taken: int = 0
    """Places of the maximum that nodes outside the plan take: sessions' own, and those asked of sites out of reach."""
    passing: int = 0
    """How many of these leave, or may never come: no node has to go for them."""
    standby: int = 0
    enabled: bool = True
    idle_timeout: timedelta | None = None
    start_time: timedelta | None = None
    """Measured time from launch to check-in."""
    drain_time: timedelta = timedelta(minutes=5)
    period: timedelta = timedelta(seconds=15)
    gives_way: bool = True
    """Whether its nodes may make place for another resource's; not where nobody can tell if they are in use."""

    @property
    def most(self) -> int:
        """How many nodes the plan may have."""
        return max(self.max_nodes - self.taken, 0)

    @property
    def kept(self) -> int:
        """How many nodes of the plan may stay."""
        return max(self.max_nodes - (self.taken - self.passing), 0)

    @property
    def told(self) -> str:
        """The maximum, in words."""
        lasting = self.taken - self.passing
        outside = f", of which {lasting} {'is' if lasting == 1 else 'are'} taken outside the plan"
        return f"{self.max_nodes}{outside if lasting else ''}"

    @property
    def idle_limit(self) -> timedelta:
        if self.idle_timeout is not None:
            return self.idle_timeout
        return max(LEAST_IDLE, 2 * (self.start_time or timedelta()))

    @property
    def window(self) -> timedelta:
        """How long a want is remembered; a resource that lets idle nodes go sooner forgets sooner."""
        if self.idle_timeout is not None:
            return min(DOWN_WINDOW, self.idle_timeout)
        return max(DOWN_WINDOW, self.idle_limit)

    @property
    def patience(self) -> timedelta:
        """How long an idle node is left alone that another resource could use: as long as starting it anew takes."""
        return max(self.period, self.start_time or timedelta())


@dataclass(frozen=True, slots=True)
class History:
    """What one plan leaves for the next."""

    wanted: tuple[Wanted, ...] = ()
    up_since: datetime | None = None
    """Since when more is wanted than exists; after nodes were let go, from when on that counts."""
    surplus_since: datetime | None = None
    """Since when more nodes exist than were wanted at any time of the window; moved on while all are at work.

    While the last node is wanted, and after that, it lies ahead by as much as that stays longer for its use.
    """
    launch_failures: int = 0
    retry_at: datetime | None = None

    @property
    def inoperable(self) -> bool:
        return self.launch_failures >= FAILURES_ALLOWED

    @property
    def on_trial(self) -> bool:
        """Whether the next failure makes it inoperable; so it is until a node has lasted."""
        return self.launch_failures >= FAILURES_ALLOWED - 1


@dataclass(frozen=True, slots=True)
class ModelWork:
    """Work on one model in node-seconds: rendering, and the loads of expected misses."""

    model: str
    render_seconds: float
    load_seconds: float
    ranges: int

    @property
    def seconds(self) -> float:
        return self.render_seconds + self.load_seconds


@dataclass(frozen=True, slots=True)
class Need:
    """Work that only some sites may do wants this many nodes there."""

    sites: frozenset[str]
    nodes: int

    def met_by(self, counts: Mapping[str, int]) -> int:
        return sum(counts[site] for site in self.sites)


@dataclass(frozen=True, slots=True)
class Reckoning:
    """How a plan came to its numbers, for people."""

    work: tuple[ModelWork, ...] = ()
    needs: tuple[Need, ...] = ()
    for_work: int = 0
    needed: int = 0
    """What would be wanted without a minimum and a maximum."""
    peak: int = 0
    since: datetime | None = None
    """Since when more is wanted than exists."""
    settles_at: datetime | None = None
    """Nodes were let go lately: until then a few more are not launched."""
    within_tolerance: bool = True
    blocked: str = ""
    blocked_until: datetime | None = None
    awaiting: tuple[str, ...] = ()
    """Sites of bound work that waits for places, since the maximum leaves none."""
    pinned: tuple[tuple[str, str], ...] = ()
    """Nodes that do nothing and take such a place, with their sites: what they hold is pinned."""
    misplaced: int = 0
    """How many nodes exist in vain, while work that is bound to sites lacks as many there."""
    places: int = 0
    """How many more nodes the resource's own maximum allows."""
    compelled: tuple[tuple[str, str], ...] = ()
    """Nodes that are let go though they were wanted lately, and why."""
    stays_until: datetime | None = None
    """Until when the last node is kept for its use."""
    booked_beyond: int = 0
    """How many nodes that the maximum does not allow any more stay until their sessions end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`launch` names a site for each node to start, `drain` the idle nodes to let go, `reason` is one sentence.

    `beyond` are nodes, busy ones too, that a limit does not allow any more, each with the site whose limit it is, or
    nothing where it is the maximum. `retire` are nodes, busy ones too, whose time ends; `yields` are nodes that make
    place for another resource's, which is named; also busy ones where that has none at all.
    """

    want: int
    have: int
    launch: tuple[str, ...]
    drain: tuple[str, ...]
    reason: str
    history: History
    beyond: tuple[tuple[str, str], ...] = ()
    retire: tuple[str, ...] = ()
    yields: tuple[tuple[str, str], ...] = ()
    reckoning: Reckoning = field(default=Reckoning(), compare=False)

    @property
    def leaving(self) -> tuple[str, ...]:
        """Every node that is let go, for whatever reason."""
        return (*self.drain, *self.retire, *(node for node, _ in (*self.beyond, *self.yields)))
