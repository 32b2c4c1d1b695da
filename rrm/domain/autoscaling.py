"""How many nodes a resource should have, where to launch more and which to let go.

want = ceil(work in node-seconds / drain time), at most the number of ranges that could run at once, plus standby,
within [min, max]. Differences within the tolerance change nothing. Up: after the want has exceeded what exists for two
periods; at once from zero, and for people who wait. Down: to the most that was wanted during the window, and only idle
nodes past the idle timeout. What one plan must remember for the next goes in and comes out as `History`: instants, so
that any process can make the next plan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

TOLERANCE = 0.1
UP_PERIODS = 2
DOWN_WINDOW = timedelta(minutes=10)
LEAST_IDLE = timedelta(minutes=5)
LEAST_RATE = 4
FIRST_BACKOFF = timedelta(seconds=15)
LONGEST_BACKOFF = timedelta(minutes=15)
FAILURES_ALLOWED = 5

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
    """Rendering still to do, queued and running, in node-seconds, with the loads of expected misses.

    `ranges` bounds how many nodes could share it; `sites` are those that may run it, None for any.
    """

    seconds: float
    ranges: int
    sites: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    work: tuple[Work, ...] = ()
    sessions: int = 0
    """Those that have a node and those that wait for one: people, so what they lack is started at once."""
    models: frozenset[str] = frozenset()
    """The models that queued and running work needs."""


@dataclass(frozen=True, slots=True)
class SupplyNode:
    id: str
    site: str
    phase: Phase
    idle_since: datetime | None = None
    models: frozenset[str] = frozenset()
    pinned: bool = False
    """It holds a pinned model, and is kept."""


@dataclass(frozen=True, slots=True)
class SiteRoom:
    """A site of the resource and how many more nodes it has room for, the nodes of all resources counted."""

    id: str
    room: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What the resource allows; `sites` are the enabled ones in order of preference."""

    min_nodes: int
    max_nodes: int
    sites: tuple[SiteRoom, ...]
    standby: int = 0
    enabled: bool = True
    idle_timeout: timedelta | None = None
    start_time: timedelta | None = None
    """Measured time from launch to check-in."""
    drain_time: timedelta = timedelta(minutes=5)
    period: timedelta = timedelta(seconds=15)

    @property
    def idle_limit(self) -> timedelta:
        if self.idle_timeout is not None:
            return self.idle_timeout
        return max(LEAST_IDLE, 2 * (self.start_time or timedelta()))

    @property
    def window(self) -> timedelta:
        """How long a want is remembered; a resource that lets idle nodes go sooner forgets sooner."""
        return DOWN_WINDOW if self.idle_timeout is None else min(DOWN_WINDOW, self.idle_timeout)


@dataclass(frozen=True, slots=True)
class History:
    """What one plan leaves for the next."""

    wanted: tuple[Wanted, ...] = ()
    up_since: datetime | None = None
    launch_failures: int = 0
    retry_at: datetime | None = None

    @property
    def inoperable(self) -> bool:
        return self.launch_failures >= FAILURES_ALLOWED


@dataclass(frozen=True, slots=True)
class Plan:
    """`launch` names a site for each node to start, `drain` the nodes to let go, `reason` is one sentence."""

    want: int
    have: int
    launch: tuple[str, ...]
    drain: tuple[str, ...]
    reason: str
    history: History


def launch_failed(history: History, now: datetime) -> History:
    """The history after a launch failed: back-off 15 s * 2^n. Launches of one volley that fail together count once."""
    if history.retry_at is not None and now < history.retry_at:
        return history
    backoff = min(FIRST_BACKOFF * 2 ** min(history.launch_failures, 10), LONGEST_BACKOFF)
    return replace(history, launch_failures=history.launch_failures + 1, retry_at=now + backoff)


def launch_succeeded(history: History) -> History:
    """The history after a node checked in, or after an operator asked for another try."""
    return replace(history, launch_failures=0, retry_at=None)


def plan(demand: Demand, supply: Sequence[SupplyNode], limits: Limits, history: History, now: datetime) -> Plan:
    """What to launch and what to let go now. Pure; the caller stores the history, also when nothing changes."""
    farm = _weigh(demand, supply, limits, history, now)
    blocked = _blocked(history, limits, now)
    launch = () if blocked else _placed(farm, _launch_count(farm))
    drain = _drained(farm, 0 if blocked else _swaps(farm))
    lacking = farm.want > farm.have + len(launch)
    up_since = (now if launch else farm.up_since) if lacking else None
    reason = _reason(farm, launch, drain, blocked)
    return Plan(farm.want, farm.have, launch, drain, reason, replace(history, wanted=farm.wanted, up_since=up_since))


@dataclass(frozen=True, slots=True)
class _Need:
    """Work that only some sites may do wants this many nodes there."""

    sites: frozenset[str]
    nodes: int

    def met_by(self, counts: Mapping[str, int]) -> int:
        return sum(counts[site] for site in self.sites)


@dataclass(frozen=True, slots=True)
class _Farm:
    """Everything that one plan weighs."""

    supply: Sequence[SupplyNode]
    limits: Limits
    models: frozenset[str]
    sessions: int
    needs: tuple[_Need, ...]
    want: int
    wanted: tuple[Wanted, ...]
    up_since: datetime | None
    now: datetime

    @property
    def counts(self) -> Counter[str]:
        return Counter(node.site for node in self.supply if node.phase is not Phase.LEAVING)

    @property
    def have(self) -> int:
        return self.counts.total()

    @property
    def peak(self) -> int:
        return max(want for _, want in self.wanted)

    @property
    def lacks(self) -> bool:
        return self.want > self.have and _beyond_tolerance(self.want, self.have)

    @property
    def places(self) -> int:
        """How many more nodes the resource may have; those that leave still take a place."""
        return max(self.limits.max_nodes - len(self.supply), 0)

    @property
    def unserved(self) -> int:
        """How many nodes it takes so that each need has one, where its sites have room; one may serve several needs."""
        return len(_for_needs(self.needs, self.counts, self.limits.sites, passes=(1,)))


def _weigh(demand: Demand, supply: Sequence[SupplyNode], limits: Limits, history: History, now: datetime) -> _Farm:
    known = frozenset(site.id for site in limits.sites)
    work = [item for item in demand.work if item.ranges > 0 and (item.sites is None or item.sites & known)]
    needs = _needs(work, known, limits.drain_time) if limits.enabled else ()
    want = _want(work, needs, demand.sessions, limits)
    wanted = _remembered(history.wanted, want, now, limits.window if limits.enabled else timedelta())
    farm = _Farm(supply, limits, demand.models, demand.sessions, needs, want, wanted, None, now)
    return replace(farm, up_since=history.up_since or now) if farm.lacks else farm


def _needs(work: Iterable[Work], known: frozenset[str], drain_time: timedelta) -> tuple[_Need, ...]:
    bound: dict[frozenset[str], list[Work]] = {}
    for item in work:
        if item.sites is not None:
            bound.setdefault(item.sites & known, []).append(item)
    needs = (_Need(sites, _nodes_for(items, drain_time)) for sites, items in bound.items())
    return tuple(sorted(needs, key=lambda need: (len(need.sites), sorted(need.sites))))


def _nodes_for(work: Sequence[Work], drain_time: timedelta) -> int:
    """Enough nodes to finish within the drain time, one at least if there is any work, never more than ranges."""
    nodes = math.ceil(sum(item.seconds for item in work) / drain_time.total_seconds())
    return min(max(nodes, 1), sum(item.ranges for item in work))


def _want(work: Sequence[Work], needs: Sequence[_Need], sessions: int, limits: Limits) -> int:
    if not limits.enabled:
        return 0
    anywhere = tuple(SiteRoom(site.id, limits.max_nodes) for site in limits.sites)
    for_work = max(_nodes_for(work, limits.drain_time), len(_for_needs(needs, Counter(), anywhere)))
    return max(limits.min_nodes, min(limits.max_nodes, for_work + sessions + limits.standby))


def _remembered(wanted: Iterable[Wanted], want: int, now: datetime, window: timedelta) -> tuple[Wanted, ...]:
    """The wants that can still be the maximum of a window: descending, so there are never many."""
    instant = now.timestamp()
    recent = ((at, least) for at, least in wanted if least > want and at > instant - window.total_seconds())
    return (*recent, (instant, want))


def _beyond_tolerance(want: int, have: int) -> bool:
    return abs(want - have) > TOLERANCE * max(have, 1)


def _blocked(history: History, limits: Limits, now: datetime) -> str:
    """Why nothing may be launched; empty when something may."""
    if not limits.enabled:
        return "the resource is disabled"
    if history.inoperable:
        return f"{history.launch_failures} launches in a row failed"
    if history.retry_at is not None and now < history.retry_at:
        return f"the last launch failed and the next is due at {history.retry_at:%H:%M:%S %Z}"
    return ""


def _launch_count(farm: _Farm) -> int:
    """At once what the minimum, people and sites without a node need; the rest after two periods, by doubling."""
    at_once = max(farm.limits.min_nodes - farm.have, farm.sessions - farm.have, farm.unserved, 0)
    if not farm.lacks or farm.up_since is None:
        return at_once
    held = farm.have == 0 or farm.now - farm.up_since >= UP_PERIODS * farm.limits.period
    return max(at_once, min(farm.want - farm.have, max(LEAST_RATE, farm.have)) if held else 0)


def _placed(farm: _Farm, count: int) -> tuple[str, ...]:
    """A site for each of at most `count` nodes: first where work is bound to, then by preference, as room allows."""
    chosen = _for_needs(farm.needs, farm.counts, farm.limits.sites)
    for site in farm.limits.sites:
        chosen += [site.id] * max(site.room - chosen.count(site.id), 0)
    return tuple(chosen[: min(count, farm.places)])


def _for_needs(
    needs: Sequence[_Need],
    counts: Counter[str],
    sites: Sequence[SiteRoom],
    passes: Sequence[int | None] = (1, None),
) -> list[str]:
    """The sites where needs lack nodes: first one for each need, then the others, as far as there is room."""
    counts, room = counts.copy(), {site.id: site.room for site in sites}
    chosen: list[str] = []
    for least in passes:
        for need in needs:
            while need.met_by(counts) < (least or need.nodes):
                site = next((site.id for site in sites if site.id in need.sites and room[site.id] > 0), None)
                if site is None:
                    break
                chosen.append(site)
                counts[site] += 1
                room[site] -= 1
    return chosen


def _swaps(farm: _Farm) -> int:
    """How many nodes must make place for work that is bound to a site without any."""
    leaving = len(farm.supply) - farm.have
    return max(farm.unserved - farm.places - leaving, 0)


def _drained(farm: _Farm, swaps: int) -> tuple[str, ...]:
    """The idle nodes to let go: those that must, and of those beyond the recent want the ones idle for long enough."""
    must = max(farm.have - farm.limits.max_nodes, swaps) if farm.limits.enabled else farm.have
    may = farm.have - farm.peak if _beyond_tolerance(farm.peak, farm.have) else 0
    counts, chosen = farm.counts, list[str]()
    for node in _by_loss(farm):
        expired = node.idle_since is not None and farm.now - node.idle_since >= farm.limits.idle_limit
        needed = any(node.site in need.sites and need.met_by(counts) <= need.nodes for need in farm.needs)
        if not needed and (len(chosen) < must or (expired and len(chosen) < may)):
            chosen.append(node.id)
            counts[node.site] -= 1
    return tuple(chosen)


def _by_loss(farm: _Farm) -> list[SupplyNode]:
    """Idle nodes that may go, the least loss first: no wanted model, no model, models held elsewhere, longest idle."""
    copies = Counter(model for node in farm.supply if node.phase is not Phase.LEAVING for model in node.models)

    def loss(node: SupplyNode) -> tuple[bool, bool, bool, datetime, str]:
        sole = any(copies[model] == 1 for model in node.models)
        return bool(node.models & farm.models), bool(node.models), sole, node.idle_since or farm.now, node.id

    return sorted((node for node in farm.supply if node.phase is Phase.IDLE and not node.pinned), key=loss)


def _reason(farm: _Farm, launch: Sequence[str], drain: Sequence[str], blocked: str) -> str:
    facts = f"{farm.want} wanted, {farm.have} exist"
    if launch:
        sites = ", ".join(f"{count} at {site}" for site, count in Counter(launch).items())
        return f"{facts}: launching {sites}."
    if drain:
        return f"{facts}, at most {farm.peak} wanted lately: letting {len(drain)} go."
    if blocked and (farm.lacks or not farm.limits.enabled):
        return f"{facts}: launching none, since {blocked}."
    if farm.lacks:
        return f"{facts}: {_why_not_more(farm)}."
    if farm.have > farm.want:
        return f"{facts}: keeping those that are busy, pinned, wanted lately or not idle for long."
    return f"{facts}."


def _why_not_more(farm: _Farm) -> str:
    if not farm.limits.sites:
        return "no site is enabled"
    if farm.places == 0:
        return "waiting for the places of nodes that leave"
    if all(site.room <= 0 for site in farm.limits.sites):
        return "no site has room"
    return "launching if this lasts"
