"""Which nodes a plan lets go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rrm.domain.autoscaling.facts import UP_PERIODS, Need, Phase, SupplyNode
from rrm.domain.autoscaling.weighing import Weighed, stays


@dataclass(frozen=True, slots=True)
class Swaps:
    """How many nodes make place for work that is bound elsewhere, where the maximum leaves none."""

    at_once: int = 0
    """For a first node at its site."""
    rested: int = 0
    """All of them: for more than that only nodes that were idle for as long as a start takes."""


NO_SWAPS = Swaps()


def swaps(farm: Weighed, gone: Collection[str]) -> Swaps:
    """The same where these nodes leave anyway."""
    if not farm.needs:
        return NO_SWAPS
    places = max(farm.limits.most - (farm.have - len(gone)), 0)
    counts = farm.counts
    movable = sum(node.id not in gone and not is_needed(node, farm.needs, counts) for node in by_loss(farm))
    first = _coming(farm, farm.unserved_at, places + movable) - places
    more = min(_coming(farm, farm.lacking_at, places + movable), farm.missing) - places
    return Swaps(max(first, 0), min(max(more, 0), farm.misplaced))


def awaiting(farm: Weighed, swapped: Swaps, going: int) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The sites whose work waits for a place that the maximum does not leave; pinned nodes that take one to no use."""
    places = max(farm.limits.most - (farm.have - going), 0)
    short = max(farm.unserved, min(sum(farm.lacking_at.values()), farm.missing)) - places
    sites = tuple(sorted({site for need in farm.unmet for site in need.sites}))
    if short <= 0:
        return (sites if swapped != NO_SWAPS else ()), ()
    idle = (node for node in farm.supply if node.phase is Phase.IDLE and node.pinned and stays(node, farm.now))
    counts = farm.counts
    pinned = tuple((node.id, node.site) for node in idle if not is_needed(node, farm.needs, counts))
    return (sites if pinned or farm.unserved > places or swapped != NO_SWAPS else ()), pinned


def _coming(farm: Weighed, lacking: Mapping[str, int], places: int) -> int:
    """How many nodes whole launches give where so many places come free."""
    found = 0
    for site in farm.limits.sites:
        found += min(lacking.get(site.id, 0), places - found) // site.machines * site.machines
    return found


def drained(farm: Weighed, swapped: Swaps, gone: Collection[str] = frozenset()) -> dict[str, str]:
    """The idle nodes to let go: those that must, and of those beyond the recent want the ones idle for long enough.

    For each that must and would stay otherwise it is told why. `gone` are nodes that leave anyway.
    """
    must = swapped.at_once if farm.limits.enabled else farm.have
    counts, chosen = farm.counts - Counter(node.site for node in farm.supply if node.id in gone), dict[str, str]()
    unwanted, spare = farm.unwanted - len(gone), farm.spare - len(gone)
    for node in by_loss(farm):
        if node.id in gone:
            continue
        rest = farm.now - (node.idle_since or farm.now)
        expired = len(chosen) < unwanted and node.idle_since is not None and rest >= farm.limits.idle_limit
        is_spare = len(chosen) < spare and rest >= UP_PERIODS * farm.limits.period
        is_moved = len(chosen) < swapped.rested and rest >= farm.limits.patience
        if (len(chosen) < must or expired or is_spare or is_moved) and not is_needed(node, farm.needs, counts):
            chosen[node.id] = "" if expired or is_spare else _compelled(farm)
            counts[node.site] -= 1
    return chosen


def _compelled(farm: Weighed) -> str:
    """Why a node must go."""
    limits = farm.limits
    if not limits.enabled:
        return "as the resource is disabled"
    with_room = farm.lacking_at.keys()
    where = " or ".join(sorted({site for need in farm.unmet if need.sites & with_room for site in need.sites}))
    return f"to make place for work that is bound to {where}, as the maximum is {limits.told}"


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


def retired(farm: Weighed, leaving: Sequence[str]) -> tuple[str, ...]:
    """Nodes whose time ends; who uses one keeps it until his own time ends."""
    due = (node for node in farm.supply if node.retire_at is not None and farm.now >= node.retire_at)
    at_work = (node for node in due if node.phase in (Phase.IDLE, Phase.BUSY) and not node.booked)
    return tuple(node.id for node in at_work if node.id not in leaving)
