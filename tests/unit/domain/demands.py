"""Made-up demand and supply, and what the autoscaler decides on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rrm.domain.autoscaling import (
    Demand,
    History,
    Limits,
    Phase,
    Plan,
    SiteRoom,
    SupplyNode,
    Work,
    plan,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
UNWRITTEN = History()
HERE = Limits(min_nodes=0, max_nodes=100, sites=(SiteRoom("here", 100),))
TWO_SITES = replace(HERE, sites=(SiteRoom("near", 3), SiteRoom("far", 100)))


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def work(nodes: float, *sites: str) -> Demand:
    """Work that keeps so many nodes busy for the drain time, in more ranges than there could be nodes."""
    return Demand((Work(nodes * 300, 1000, frozenset(sites) or None),))


def nodes(number: int, phase: Phase = Phase.BUSY, site: str = "here", **facts: Any) -> list[SupplyNode]:
    idle_since = facts.pop("idle_since", LONG_AGO if phase is Phase.IDLE else None)
    return [SupplyNode(f"{phase}-{site}-{i}", site, phase, idle_since, **facts) for i in range(number)]


def idle(id_: str, *models: str, since: datetime = LONG_AGO, pinned: bool = False, site: str = "here") -> SupplyNode:
    return SupplyNode(id_, site, Phase.IDLE, since, frozenset(models), pinned)


def decide(
    demand: Demand, supply: list[SupplyNode], limits: Limits = HERE, history: History = UNWRITTEN, now: datetime = NOW
) -> Plan:
    return plan(demand, supply, limits, history, now)


def lasting(demand: Demand, supply: list[SupplyNode], limits: Limits = HERE) -> Plan:
    """The plan after the same facts were seen for 30 s."""
    first = decide(demand, supply, limits)
    return decide(demand, supply, limits, first.history, NOW + seconds(30))
