"""Which nodes a plan lets go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from rrm.domain.autoscaling.facts import UP_PERIODS, Need, Phase, SupplyNode
from rrm.domain.autoscaling.weighing import Weighed, stays
from rrm.domain.capabilities import listed


def swaps(farm: Weighed) -> int:
    """How many nodes must make place for work that is bound to a site without any."""
    leaving = len(farm.supply) - farm.have
    return max(farm.unserved - farm.places - leaving, 0)


def drained(farm: Weighed, swapped: int) -> dict[str, str]:
    """The idle nodes to let go: those that must, and of those beyond the recent want the ones idle for long enough.

    For each that must and would stay otherwise it is told why.
    """
    must = max(farm.have - farm.limits.most, swapped) if farm.limits.enabled else farm.have
    counts, chosen = farm.counts, dict[str, str]()
    unwanted, spare = farm.unwanted, farm.spare
    for node in by_loss(farm):
        rest = farm.now - (node.idle_since or farm.now)
        expired = len(chosen) < unwanted and node.idle_since is not None and rest >= farm.limits.idle_limit
        is_spare = len(chosen) < spare and rest >= UP_PERIODS * farm.limits.period
        if (len(chosen) < must or expired or is_spare) and not is_needed(node, farm.needs, counts):
            chosen[node.id] = "" if expired or is_spare else _compelled(farm, len(chosen))
            counts[node.site] -= 1
    return chosen


def _compelled(farm: Weighed, before: int) -> str:
    """Why a node must go, after so many others."""
    limits = farm.limits
    if not limits.enabled:
        return "as the resource is disabled"
    maximum = f"as the maximum is {limits.max_nodes}"
    if limits.taken:
        maximum += f", of which {limits.taken} {'is' if limits.taken == 1 else 'are'} taken outside the plan"
    if before < farm.have - limits.most:
        return maximum
    with_room = {site for site, _ in farm.unserved_at}
    lacking = [need.sites for need in farm.needs if not need.met_by(farm.counts) and need.sites & with_room]
    where = listed(sorted({site for sites in lacking for site in sites}))
    return f"to make place for work that is bound to {where}, {maximum}"


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
