"""What one plan weighs, and what follows from that: the want, and since when there are too few or too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rrm.domain.autoscaling import wants
from rrm.domain.autoscaling.facts import (
    TOLERANCE,
    UP_PERIODS,
    Demand,
    History,
    Limits,
    ModelWork,
    Need,
    Phase,
    SiteRoom,
    SupplyNode,
    Wanted,
    few,
)
from rrm.domain.autoscaling.places import for_needs

SPARE_PART = 4  # of the nodes beyond what was wanted, one in so many goes at once though it has work now and then
KEPT_USE = 0.5  # of the window is the most that the last node stays longer for its use
ALL_AT_WORK = 4  # times as fast as it grows the time of surplus shrinks while no node is idle


@dataclass(frozen=True, slots=True)
class Weighed:
    """Everything that one plan weighs."""

    supply: Sequence[SupplyNode]
    limits: Limits
    demand: Demand
    work: tuple[ModelWork, ...]
    needs: tuple[Need, ...]
    for_work: int
    anywhere: int
    """How many nodes are wanted wherever they are: for work that is bound to no site, people, standby, the minimum."""
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
        return (self.want > self.have and beyond_tolerance(self.want, self.have)) or self.misplaced > 0

    @property
    def missing(self) -> int:
        """How many nodes are lacking: those that exist and may do none of the work do not count."""
        return max(self.want - self.have, 0) + self.misplaced

    @property
    def misplaced(self) -> int:
        """How many nodes exist in vain, while work that is bound to sites lacks as many there."""
        short = sum(self.lacking_at.values()) - max(self.want - self.have, 0)
        if short <= 0:
            return 0
        enough = sum(need.nodes for need in self.needs)
        anywhere = tuple(SiteRoom(site.id, enough) for site in self.limits.sites)
        wanted, lacking = (for_needs(self.needs, counts, anywhere) for counts in (Counter[str](), self.counts))
        served = sum(nodes for _, nodes in wanted) - sum(nodes for _, nodes in lacking)
        return max(min(short, self.have - served - self.anywhere), 0)

    @property
    def lacking_at(self) -> dict[str, int]:
        """How many nodes work that is bound to sites lacks there, as far as they have room."""
        return self._launches(self.unmet, (1, None))

    @property
    def unmet(self) -> list[Need]:
        """The needs that lack nodes beyond the tolerance."""
        counts = self.counts
        short = [need for need in self.needs if need.nodes > need.met_by(counts)]
        return [need for need in short if beyond_tolerance(need.nodes, need.met_by(counts))]

    @property
    def surplus(self) -> int:
        """How many nodes exist beyond what was wanted at any time of the window."""
        return max(self.have - self.peak, 0) if beyond_tolerance(self.peak, self.have) else 0

    @property
    def unwanted(self) -> int:
        """Of these, how many go once they were idle for their time-out.

        Half as many as work wants lately may be needed again soon: these are left to `spare`, unless the resource names
        a time-out.
        """
        kept = self.limits.min_nodes + self.limits.standby
        margin = 0 if self.limits.idle_timeout is not None else max(self.peak - kept + 1, 0) // 2
        return 0 if self.stays_until else max(self.surplus - margin, 0)

    @property
    def stays_until(self) -> datetime | None:
        """Until when the last node is not let go, where it was in use for long and nothing is wanted any more."""
        return self.surplus_since if self.surplus and self.surplus_since and self.now < self.surplus_since else None

    @property
    def is_last(self) -> bool:
        """Whether one node is left, which may go."""
        return self.have == 1 and not self.limits.min_nodes + self.limits.standby and self.limits.idle_timeout is None

    @property
    def places(self) -> int:
        """How many more nodes the resource may have; those that leave still take a place."""
        return max(self.limits.most - len(self.supply), 0)

    @property
    def unserved(self) -> int:
        """How many nodes it takes so that each need has one, where its sites have room; one may serve several needs."""
        return sum(self.unserved_at.values())

    @property
    def unserved_at(self) -> dict[str, int]:
        """The same by site."""
        return self._launches(self.needs, (1,))

    def _launches(self, needs: Sequence[Need], passes: Sequence[int | None]) -> dict[str, int]:
        """What needs lack at each site, in whole launches that the maximum allows."""
        sites = tuple(replace(site, room=min(site.room, self.limits.most)) for site in self.limits.sites)
        found: Counter[str] = Counter()
        for site, nodes in for_needs(needs, self.counts, sites, passes):
            found[site] += nodes
        machines = {site.id: site.machines for site in sites}
        return {site: -(-nodes // machines[site]) * machines[site] for site, nodes in found.items()}

    @property
    def is_settling(self) -> bool:
        """Whether nodes were let go lately, so that a few more are not launched yet."""
        return self.up_since is not None and self.now < self.up_since

    @property
    def has_lasted(self) -> bool:
        """Whether more is launched now: from zero at once, else at the last plan that comes within the two periods."""
        lasted = self.now - self.up_since if self.up_since else timedelta()
        return self.have == 0 or lasted > (UP_PERIODS - 1) * self.limits.period

    @property
    def spare(self) -> int:
        """How many nodes may go that have work now and then.

        A little work for one of many nodes would keep them all. So once there were too many for the whole window some
        go that have nothing to do at present, unless the resource names a time-out; the fewer are left the fewer.
        """
        lasted = self.now - self.surplus_since if self.surplus_since else timedelta()
        if self.limits.idle_timeout is not None or lasted < self.limits.window:
            return 0
        return -(-self.surplus // SPARE_PART)


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
    unbound = wants.by_model((item for item in work if item.sites is None), held, demand)
    anywhere = wants.want(wants.nodes_for_work(unbound, (), limits) if unbound else 0, demand, limits)
    farm = Weighed(supply, limits, demand, models, needs, for_work, anywhere, want, wanted, None, None, now)
    return replace(
        farm,
        up_since=_up_since(farm, history),
        surplus_since=_surplus_since(farm, history),
    )


def _up_since(farm: Weighed, history: History) -> datetime | None:
    """Since when nodes are lacking; an instant to come where some were let go lately, and not many more are wanted."""
    is_settling = history.up_since is not None and farm.now < history.up_since <= farm.now + farm.limits.window
    if is_settling and farm.want <= few(farm.have) and not farm.misplaced:
        return history.up_since
    since = None if is_settling else history.up_since
    return min(since or farm.now, farm.now) if farm.lacks else None


def _surplus_since(farm: Weighed, history: History) -> datetime | None:
    """Since when there are too many nodes; the time while all were at work counts against it.

    Work that keeps few nodes busy on average would otherwise lose those that it needs now and then, and get them back.
    """
    passed = timedelta()
    if history.wanted:
        passed = max(farm.now - datetime.fromtimestamp(history.wanted[-1][0], farm.now.tzinfo), passed)
    latest = farm.now + farm.limits.window * KEPT_USE if farm.is_last else farm.now
    phases = {node.phase for node in farm.supply}
    if farm.surplus:
        rests = Phase.IDLE in phases
        return min((history.surplus_since or farm.now) + (1 + ALL_AT_WORK) * passed * (not rests), latest)
    since = _with_use(farm, history, passed if Phase.BUSY in phases else timedelta(), passed)
    return min(since, latest) if min(since, latest) > farm.now else None


def _with_use(farm: Weighed, history: History, used: timedelta, passed: timedelta) -> datetime:
    """An instant as far ahead as nodes were used while they were wanted; what was so at the last plan still counts."""
    known = (history.surplus_since or farm.now - passed) + passed
    return max(known, farm.now) + used


def stays(node: SupplyNode, now: datetime) -> bool:
    """Whether the node counts as had: it neither leaves nor has to be replaced soon."""
    return node.phase is not Phase.LEAVING and (node.replace_at is None or now < node.replace_at)


def for_people(demand: Demand, supply: Sequence[SupplyNode], now: datetime) -> int:
    """How many nodes people lack: who is at work for others may be so for long, and is not counted on."""
    return demand.sessions - sum(stays(node, now) and (node.booked or node.phase is not Phase.BUSY) for node in supply)


def beyond_tolerance(want: int, have: int) -> bool:
    return abs(want - have) > TOLERANCE * max(have, 1)
