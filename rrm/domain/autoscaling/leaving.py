"""Which nodes a plan lets go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from rrm.domain.autoscaling.facts import UP_PERIODS, Need, Phase, SupplyNode
from rrm.domain.autoscaling.weighing import Weighed, stays


def swaps(farm: Weighed, gone: int) -> int:
    """How many nodes must make place for work that is bound to a site without any, where so many leave anyway."""
    places = max(farm.limits.most - (farm.have - gone), 0)
    return max(farm.unserved - places, 0)


def drained(farm: Weighed, swapped: int, gone: Collection[str] = frozenset()) -> tuple[str, ...]:
    """The idle nodes to let go: those that must, and of those beyond the recent want the ones idle for long enough.

    `gone` are nodes that leave anyway.
    """
    must = swapped if farm.limits.enabled else farm.have
    counts, chosen = farm.counts - Counter(node.site for node in farm.supply if node.id in gone), list[str]()
    unwanted, spare = farm.unwanted - len(gone), farm.spare - len(gone)
    for node in by_loss(farm):
        if node.id in gone:
            continue
        rest = farm.now - (node.idle_since or farm.now)
        expired = len(chosen) < unwanted and node.idle_since is not None and rest >= farm.limits.idle_limit
        is_spare = len(chosen) < spare and rest >= UP_PERIODS * farm.limits.period
        if (len(chosen) < must or expired or is_spare) and not is_needed(node, farm.needs, counts):
            chosen.append(node.id)
            counts[node.site] -= 1
    return tuple(chosen)


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
