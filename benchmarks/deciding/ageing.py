"""What it is worth from when on a job ages: the rule beside two that are simpler, under the same orders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from rrm.domain.scheduling import Policy
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Simulation
from rrm.simulate.farm import RESOURCE, Job, Node
from rrm.simulate.tally import Figures, mean
from rrm.simulate.workload import Workload

BASE = Workload()
FARMS: dict[str, Workload] = {
    "load .3": replace(BASE, rho=0.3),
    "load .5": BASE,
    "load .7": replace(BASE, rho=0.7),
    "4 models per node": replace(BASE, capacity=4),
    "20 leases per job": replace(BASE, leases=20, jobs=600),
}


class SinceItCame(StreakBound):
    """A job ages from its coming on, whether its model is served meanwhile or not."""

    def pick(self, node: Node) -> tuple[Job, str] | None:
        for waiting in self.queues.classes(RESOURCE):
            waiting.served.clear()
        return super().pick(node)


RULES: dict[str, Callable[[], StreakBound]] = {
    "when the job came": SinceItCame,
    "when its model was served last": lambda: StreakBound(Policy(rest_seconds=math.inf)),
    "that, but for a node at rest": StreakBound,
}


def measure(seeds: int, jobs: int) -> dict[str, dict[str, dict[str, float]]]:
    """By rule and farm: hits, mean time to delivery, loads for each job, the longest wait in the mean and in all."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for label, make in RULES.items():
        found[label] = {}
        for farm, workload in FARMS.items():
            less = replace(workload, jobs=min(jobs, workload.jobs))
            runs = (Simulation(less.scenario(seed), make()).run() for seed in range(seeds))
            found[label][farm] = _figures(runs)
    return found


def _figures(runs: Iterable[Figures]) -> dict[str, float]:
    rows = list(runs)
    longest = [row.wait_max_s for row in rows]
    return {
        "hit_rate": mean([row.hit_rate for row in rows]),
        "mean_s": mean([row.mean_s for row in rows]),
        "loads_per_job": mean([row.leases * (1 - row.hit_rate) / row.jobs for row in rows]),
        "longest_mean_s": mean(longest),
        "longest_s": max(longest),
    }


def show(found: dict[str, dict[str, Any]]) -> None:
    head = f"{'hits':>6}{'mean s':>9}{'loads/job':>11}{'longest':>9}{'of all':>8}"
    for farm in FARMS:
        print(f"\n{'ages from ... on; ' + farm:<42}{head}")
        for label, farms in found.items():
            row = farms[farm]
            waits = f"{row['loads_per_job']:11.2f}{row['longest_mean_s']:9.0f}{row['longest_s']:8.0f}"
            print(f"{label:<42}{row['hit_rate']:6.3f}{row['mean_s']:9.1f}{waits}")
