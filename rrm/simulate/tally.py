"""What is counted while a farm is simulated, and the figures made of it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """`mean_s` to `max_s`: from order to delivery. `wait_*`: until a node turns to it, its load not counted."""

    policy: str
    jobs: int
    leases: int
    hit_rate: float
    mean_s: float
    p95_s: float
    max_s: float
    wait_mean_s: float
    wait_p95_s: float
    wait_max_s: float
    imbalance: float
    node_hours: float
    loads_per_hour: float
    sim_hours: float
    lost_leases: int
    reasons: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Tally:
    """Waits and answer times of jobs in the order in which they were known; leases by how they were decided."""

    waits: array[float] = field(default_factory=lambda: array("d"))
    answers: array[float] = field(default_factory=lambda: array("d"))
    session_waits: array[float] = field(default_factory=lambda: array("d"))
    hits: int = 0
    loads: int = 0
    lost: int = 0
    node_seconds: float = 0.0
    busy_seconds: list[float] = field(default_factory=list)
    """Of each node that was there all the time."""
    reasons: Counter[str] = field(default_factory=Counter)

    def figures(self, policy: str, seconds: float) -> Figures:
        waits, answers = sorted(self.waits), sorted(self.answers)
        leases = self.hits + self.loads
        mean_busy = sum(self.busy_seconds) / max(1, len(self.busy_seconds))
        return Figures(
            policy=policy,
            jobs=len(answers),
            leases=leases,
            hit_rate=self.hits / max(1, leases),
            mean_s=mean(answers),
            p95_s=quantile(answers, 0.95),
            max_s=quantile(answers, 1.0),
            wait_mean_s=mean(waits),
            wait_p95_s=quantile(waits, 0.95),
            wait_max_s=quantile(waits, 1.0),
            imbalance=max(self.busy_seconds, default=0.0) / mean_busy if mean_busy else 1.0,
            node_hours=self.node_seconds / 3600,
            loads_per_hour=self.loads / max(seconds / 3600, 1e-9),
            sim_hours=seconds / 3600,
            lost_leases=self.lost,
            reasons=dict(sorted(self.reasons.items())),
        )


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def quantile(ordered: list[float], part: float) -> float:
    """The least value that at least this part of them does not exceed."""
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)] if ordered else 0.0


def pooled(runs: Iterable[Figures]) -> Figures:
    """The mean of each figure over runs that differ in their seed; the maxima are maxima."""
    found = list(runs)
    merged: dict[str, Any] = {"policy": found[0].policy}
    for name in Figures.__dataclass_fields__:
        values = [getattr(run, name) for run in found]
        if name == "reasons":
            merged[name] = dict(sum((Counter(value) for value in values), Counter()))
        elif name in ("jobs", "leases", "lost_leases"):
            merged[name] = sum(values)
        elif name in ("max_s", "wait_max_s"):
            merged[name] = max(values)
        elif name != "policy":
            merged[name] = sum(values) / len(values)
    return Figures(**merged)
