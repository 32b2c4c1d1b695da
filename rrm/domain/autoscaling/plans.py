"""The plan of one resource, whose sites have so much room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rrm.domain.autoscaling import leaving, sentences, wants
from rrm.domain.autoscaling.beyond import beyond_maximum
from rrm.domain.autoscaling.facts import UP_PERIODS, Demand, History, Limits, Phase, Plan, Reckoning, SupplyNode
from rrm.domain.autoscaling.places import placed, whole
from rrm.domain.autoscaling.weighing import SPARE_PART, Weighed, beyond_tolerance, for_people, weigh

LEAST_RATE = 4  # from zero: until these have measured what the work costs
GROWTH = 9  # times what exists may be added at once, so that ten times the load is met at once
LARGEST_VOLLEY = 1000  # launches of one plan; what is still wanted follows in the next ones


def plan(demand: Demand, supply: Sequence[SupplyNode], limits: Limits, history: History, now: datetime) -> Plan:
    """What to launch and what to let go now. Pure; the caller stores the history, also when nothing changes."""
    farm = weigh(demand, supply, limits, history, now)
    blocked, until = _blocked(farm, history)
    count = min(_launch_count(farm), farm.places, 1 if history.on_trial else LARGEST_VOLLEY)
    launch = () if blocked else _launched(farm, count)
    over = beyond_maximum(farm)
    swaps = leaving.NO_SWAPS if blocked else leaving.swaps(farm, frozenset(over))
    gone = leaving.drained(farm, swaps, frozenset(over))
    drain = tuple(gone)
    up_since = _up_after(farm, launch, drain)
    compelled = tuple((node, why) for node, why in gone.items() if why)
    reckoning = replace(_reckoning(farm, blocked, until, over), compelled=compelled)
    if farm.needs and not blocked:
        sites, pinned = leaving.awaiting(farm, swaps, len(over) + len(drain))
        reckoning = replace(reckoning, awaiting=sites, pinned=pinned)
    surplus_since = _surplus_after(farm, drain)
    later = replace(history, wanted=farm.wanted, up_since=up_since, surplus_since=surplus_since)
    made = Plan(farm.want, farm.have, launch, drain, "", later)
    beyond = tuple((node, "") for node in over)
    made = replace(made, beyond=beyond, retire=leaving.retired(farm, (*over, *drain)), reckoning=reckoning)
    return replace(made, reason=sentences.reason(made, limits))


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
    """At once what the minimum, people and sites without a node need; the rest within two periods, ten-fold at most."""
    people = for_people(farm.demand, farm.supply, farm.now)
    at_once = max(farm.limits.min_nodes - farm.have, people, farm.unserved, 0)
    if not farm.lacks or not farm.has_lasted:
        return at_once
    return max(at_once, min(farm.missing, max(LEAST_RATE, GROWTH * farm.have)))


def _launched(farm: Weighed, count: int) -> tuple[str, ...]:
    """A site for each of so many nodes, or of some more where one launch gives several."""
    sites = tuple(replace(site, room=min(site.room, farm.places)) for site in farm.limits.sites)
    useful = {site for need in farm.needs for site in need.sites}
    booked = sum(node.booked and node.site in useful for node in farm.supply)  # what sessions want they have there
    return whole(placed(farm.needs, farm.counts, sites, count, farm.anywhere - booked), sites, farm.places)


def _up_after(farm: Weighed, launched: Sequence[str], drained: Sequence[str]) -> datetime | None:
    """Since when nodes are lacking, for the next plan: after a volley anew, after nodes were let go a window later."""
    settling = farm.limits.window - (UP_PERIODS - 1) * farm.limits.period
    if drained and farm.surplus and settling > timedelta():
        return farm.now + settling
    if farm.up_since is not None and farm.up_since > farm.now:
        return farm.up_since
    if farm.missing <= len(launched):
        return None
    return farm.now if launched and farm.has_lasted else farm.up_since


def _surplus_after(farm: Weighed, drained: Sequence[str]) -> datetime | None:
    """What is left may be the right number: a part of the time has to pass again before more of the spare nodes go."""
    if farm.surplus_since is None or not (drained and farm.spare):
        return farm.surplus_since
    return max(farm.surplus_since, farm.now - farm.limits.window) + farm.limits.window / SPARE_PART


def _settles_at(farm: Weighed) -> datetime | None:
    """When a few nodes more are launched again, where some were let go lately."""
    if farm.up_since is None or not farm.is_settling:
        return None
    return farm.up_since + (UP_PERIODS - 1) * farm.limits.period


def _reckoning(farm: Weighed, blocked: str, until: datetime | None, over: Sequence[str]) -> Reckoning:
    return Reckoning(
        work=farm.work,
        needs=farm.needs,
        for_work=farm.for_work,
        needed=wants.needed(farm.for_work, farm.demand, farm.limits),
        peak=farm.peak,
        since=None if farm.is_settling else farm.up_since,
        settles_at=_settles_at(farm),
        within_tolerance=not beyond_tolerance(farm.want, farm.have),
        blocked=blocked,
        blocked_until=until,
        places=farm.places,
        misplaced=farm.misplaced,
        stays_until=farm.stays_until,
        booked_beyond=max(farm.have - farm.limits.kept - len(over), 0),
    )
