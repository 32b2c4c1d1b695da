"""How long it takes to decide for every node of a farm as it stands, each of them being asked once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from rrm.domain.facts import Holders, JobFacts, NodeFacts
from rrm.domain.orders import PRIORITIES
from rrm.domain.queues import Queues
from rrm.domain.scheduling import Choice, Sitting

_NOW = datetime(2030, 1, 1, tzinfo=UTC)
_RUNS = 9
_LOAD = 60.0
Snapshot = tuple[list[NodeFacts], list[JobFacts], list[NodeFacts]]
"""Who asks, what waits, and who holds models."""


def measure(size: int) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time (median) by case, for `size` nodes and as many jobs."""
    return {label: _decided(*make(size)) for label, make in _CASES.items()}


def _decided(asking: list[NodeFacts], jobs: list[JobFacts], holding: list[NodeFacts]) -> dict[str, float]:
    queues, holders = Queues(jobs), Holders.of(holding)
    built = _median(lambda: (Queues(jobs), Holders.of(holding)))

    def choices() -> list[Choice | None]:
        return [sitting.choose(node) for sitting in [Sitting(queues, holders, _NOW)] for node in asking]

    decided, given = _median(choices), sum(choice is not None for choice in choices())
    return {"built_ms": round(built, 1), "decided_ms": round(decided, 1), "given": given}


def show(size: int, found: dict[str, dict[str, float]]) -> None:
    print(f"\n{f'{size:,} nodes x {size:,} jobs':<40}{'to build':>10}{'all asked':>11}{'get work':>10}")
    for label, row in found.items():
        print(f"{label:<40}{row['built_ms']:>7} ms{row['decided_ms']:>8} ms{row['given']:>10}")


def _median(act: Callable[[], Any]) -> float:
    taken = []
    for _ in range(_RUNS):
        begin = time.process_time()
        act()
        taken.append(1000 * (time.process_time() - begin))
    return sorted(taken)[_RUNS // 2]


def _job(number: int, model: int, priority: str = "normal", *, is_loadable: bool = True) -> JobFacts:
    at = _NOW - timedelta(seconds=number / 10)
    return JobFacts(
        f"j{number}", "farm", f"m{model}", "ada", priority, at, 10.0, _LOAD, lease_seconds=2.0, is_loadable=is_loadable
    )


def _node(name: str, *models: int, busy: float = 0.0) -> NodeFacts:
    return NodeFacts(name, "farm", "here", frozenset(f"m{model}" for model in models), busy_seconds=busy)


def _mixed(size: int) -> Snapshot:
    nodes = [_node(f"n{at}", at % 97, at % 89, busy=at % 7) for at in range(size)]
    return nodes, [_job(at, at % 101, PRIORITIES[at % len(PRIORITIES)]) for at in range(size)], nodes


def _held_elsewhere(size: int, *, is_loadable: bool = True) -> Snapshot:
    """Each job has its own model, that one busy node holds."""
    jobs = [_job(at % 1000, at, is_loadable=is_loadable) for at in range(size)]
    return [_node(f"n{at}") for at in range(size)], jobs, [_node(f"h{at}", at, busy=1.0) for at in range(size)]


_CASES: dict[str, Callable[[int], Snapshot]] = {
    "nodes that hold two of 101 models": _mixed,
    "nothing held, nothing may be loaded": lambda size: _held_elsewhere(size, is_loadable=False),
    "nothing held, no load worth while": _held_elsewhere,
}
