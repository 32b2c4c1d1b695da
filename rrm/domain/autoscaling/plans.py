"""The plan of one resource, whose sites have so much room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rrm.domain.autoscaling import sentences, wants
from rrm.domain.autoscaling.facts import (
    TOLERANCE,
    UP_PERIODS,
    Demand,
    History,
    Limits,
    ModelWork,
    Need,
    Phase,
    Plan,
    Reckoning,
    SupplyNode,
    Wanted,
)
from rrm.domain.autoscaling.places import for_needs, placed

LEAST_RATE = 4  # from zero: until these have measured what the work costs
GROWTH = 9  # times what exists may be added at once, so that ten times the load is met at once


def plan(demand: Demand, supply: Sequence[SupplyNode], limits: Limits, history: History, now: datetime) -> Plan:
    """What to launch and what to let go now. Pure; the caller stores the history, also when nothing changes."""
    farm = weigh(demand, supply, limits, history, now)
    blocked, until = _blocked(farm, history)
    count = min(_launch_count(farm), farm.places, 1 if history.on_trial else farm.places)
    launch = () if blocked else placed(farm.needs, farm.counts, limits.sites, count)
    drain = _drained(farm, 0 if blocked else _swaps(farm))
    lacking = farm.want > farm.have + len(launch)
    up_since = (now if launch else farm.up_since) if lacking else None
    reckoning = _reckoning(farm, blocked, until)
    later = replace(history, wanted=farm.wanted, up_since=up_since, surplus_since=farm.surplus_since)
    made = Plan(farm.want, farm.have, launch, drain, "", later)
    made = replace(made, retire=_retired(farm, drain), reckoning=reckoning)
    return replace(made, reason=sentences.reason(made, limits))


@dataclass(frozen=True, slots=True)
class Weighed:
    """Everything that one plan weighs."""

    supply: Sequence[SupplyNode]
    limits: Limits
    demand: Demand
    work: tuple[ModelWork, ...]
    needs: tuple[Need, ...]
    for_work: int
    want: int
    wanted: tuple[Wanted, ...]
    up_since: datetime | None
    surplus_since: datetime | None
    now: datetime

    @property
    def counts(self) -> Counter[str]:
        """Nodes at each site that stay."""
        return Counter(node.site for node in self.supply if stays(node, self.now))

    @property
    def have(self) -> int:
        return self.counts.total()

    @property
    def peak(self) -> int:
        return max(want for _, want in self.wanted)

    @property
    def lacks(self) -> bool:
        return self.want > self.have and beyond_tolerance(self.want, self.have)

    @property
    def surplus(self) -> int:
        """How many nodes exist beyond what was wanted at any time of the window."""
        return max(self.have - self.peak, 0) if beyond_tolerance(self.peak, self.have) else 0

    @property
    def places(self) -> int:
        """How many more nodes the resource may have; those that leave still take a place."""
        return max(self.limits.most - len(self.supply), 0)

    @property
    def unserved(self) -> int:
        """How many nodes it takes so that each need has one, where its sites have room; one may serve several needs."""
        return len(for_needs(self.needs, self.counts, self.limits.sites, passes=(1,)))


def weigh(demand: Demand, supply: Sequence[SupplyNode], limits: Limits, history: History, now: datetime) -> Weighed:
    """The facts with the want that follows from them."""
    known = frozenset(site.id for site in limits.sites)
    work = wants.doable(demand.work, known)
    held = frozenset(model for node in supply if node.phase is not Phase.LEAVING for model in node.models)
    needs = wants.needs_of(work, known, limits.drain_time) if limits.enabled else ()
    models = wants.by_model(work, held, demand)
    for_work = wants.nodes_for_work(models, needs, limits)
    want = wants.want(for_work, demand, limits)
    wanted = wants.remembered(history.wanted, want, now, limits.window if limits.enabled else timedelta())
    farm = Weighed(supply, limits, demand, models, needs, for_work, want, wanted, None, None, now)
    return replace(
        farm,
        up_since=(history.up_since or now) if farm.lacks else None,
        surplus_since=(history.surplus_since or now) if farm.surplus else None,
    )


def stays(node: SupplyNode, now: datetime) -> bool:
    """Whether the node counts as had: it neither leaves nor has to be replaced soon."""
    return node.phase is not Phase.LEAVING and (node.replace_at is None or now < node.replace_at)


def beyond_tolerance(want: int, have: int) -> bool:
    return abs(want - have) > TOLERANCE * max(have, 1)


def _blocked(farm: Weighed, history: History) -> tuple[str, datetime | None]:
    """Why nothing may be launched, and until when if that is known; empty when something may."""
    if not farm.limits.enabled:
        return "the resource is disabled", None
    waits = history.retry_at is not None and farm.now < history.retry_at
    at = f"{history.retry_at:%H:%M:%S %Z}" if history.retry_at else ""
    if history.inoperable and waits:
        return f"{history.launch_failures} launches in a row failed and one more is tried at {at}", history.retry_at
    if history.inoperable and any(node.phase is Phase.STARTING for node in farm.supply):
        return f"{history.launch_failures} launches in a row failed and one more is being tried", None
    if waits:
        return f"the last launch failed and the next is due at {at}", history.retry_at
    return "", None


def _launch_count(farm: Weighed) -> int:
    """At once what the minimum, people and sites without a node need; the rest after two periods, ten-fold at most."""
    sessions = farm.demand.sessions
    at_once = max(farm.limits.min_nodes - farm.have, sessions - farm.have, farm.unserved, 0)
    if not farm.lacks or farm.up_since is None:
        return at_once
    held = farm.have == 0 or farm.now - farm.up_since >= UP_PERIODS * farm.limits.period
    return max(at_once, min(farm.want - farm.have, max(LEAST_RATE, GROWTH * farm.have)) if held else 0)


def _swaps(farm: Weighed) -> int:
    """How many nodes must make place for work that is bound to a site without any."""
    leaving = len(farm.supply) - farm.have
    return max(farm.unserved - farm.places - leaving, 0)


def _drained(farm: Weighed, swaps: int) -> tuple[str, ...]:
    """The idle nodes to let go: those that must, and of those beyond the recent want the ones idle for long enough."""
    must = max(farm.have - farm.limits.most, swaps) if farm.limits.enabled else farm.have
    counts, chosen = farm.counts, list[str]()
    for node in by_loss(farm):
        expired = node.idle_since is not None and farm.now - node.idle_since >= _idle_limit(farm)
        if not is_needed(node, farm.needs, counts) and (len(chosen) < must or (expired and len(chosen) < farm.surplus)):
            chosen.append(node.id)
            counts[node.site] -= 1
    return tuple(chosen)


def _idle_limit(farm: Weighed) -> timedelta:
    """For how long a node has to be idle before it goes.

    A little work that comes now and then to one of many nodes would keep them all. So once there were too many for the
    whole window it is enough that a node has nothing to do at present, unless the resource names a time-out.
    """
    lasted = farm.now - farm.surplus_since if farm.surplus_since else timedelta()
    if farm.limits.idle_timeout is None and lasted >= farm.limits.window:
        return UP_PERIODS * farm.limits.period
    return farm.limits.idle_limit


def is_needed(node: SupplyNode, needs: Sequence[Need], counts: Counter[str]) -> bool:
    """Whether work that is bound to its site wants all the nodes there."""
    return any(node.site in need.sites and need.met_by(counts) <= need.nodes for need in needs)


def by_loss(farm: Weighed) -> list[SupplyNode]:
    """Idle nodes that may go, the least loss first: no wanted model, no model, models held elsewhere, longest idle."""
    copies = Counter(model for node in farm.supply if node.phase is not Phase.LEAVING for model in node.models)

    def loss(node: SupplyNode) -> tuple[bool, bool, bool, datetime, str]:
        sole = any(copies[model] == 1 for model in node.models)
        return bool(node.models & farm.demand.models), bool(node.models), sole, node.idle_since or farm.now, node.id

    idle = (node for node in farm.supply if node.phase is Phase.IDLE and stays(node, farm.now))
    return sorted((node for node in idle if not node.pinned), key=loss)


def _retired(farm: Weighed, drained: Sequence[str]) -> tuple[str, ...]:
    """Nodes whose time ends; who uses one keeps it until his own time ends."""
    due = (node for node in farm.supply if node.retire_at is not None and farm.now >= node.retire_at)
    at_work = (node for node in due if node.phase in (Phase.IDLE, Phase.BUSY) and not node.booked)
    return tuple(node.id for node in at_work if node.id not in drained)


def _reckoning(farm: Weighed, blocked: str, until: datetime | None) -> Reckoning:
    return Reckoning(
        work=farm.work,
        needs=farm.needs,
        for_work=farm.for_work,
        peak=farm.peak,
        since=farm.up_since,
        within_tolerance=not beyond_tolerance(farm.want, farm.have),
        blocked=blocked,
        blocked_until=until,
        places=farm.places,
    )
