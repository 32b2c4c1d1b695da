"""What stickiness is worth: simulated hit rates and waits beside other policies, and how quickly decisions are made.

python -m benchmarks scheduling [--json FILE] [--plot FILE.png] [--quick] [--only PART …] [--seeds 3] [--leases 1000]

The parts: points (the load), others (what else may differ), ageing (from when on a job ages), snapshot (1,000 nodes
and jobs at once), scale (10,000 nodes), day (the autoscaler; its figure goes beside the other, as FILE-day.png).
`python -m rrm.simulate` does the like for a farm of your own.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import _command
from benchmarks.deciding import ageing, snapshot
from rrm.simulate import plots, tables
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Simulation
from rrm.simulate.rivals import ALL, OURS
from rrm.simulate.scaling import Autoscaler, Supplier, Turn, limits
from rrm.simulate.tally import Figures, pooled
from rrm.simulate.workload import Workload

PARTS = ("points", "others", "ageing", "snapshot", "scale", "day")
_SNAPSHOT = 1000
_AGEING_RUNS = 10
BASE = Workload()
OTHERS: tuple[tuple[str, Workload, tuple[str, ...]], ...] = (
    ("load .1", replace(BASE, rho=0.1), ("k16", "least")),
    ("load .8", replace(BASE, rho=0.8), ("k32", "exhaustive")),
    ("loads of 5 s, load .7", replace(BASE, load=5, rho=0.7), ("k16", "least")),
    ("loads of 20 s", replace(BASE, load=20), ("k16", "score1", "least")),
    ("loads of 200 s, load .3", replace(BASE, load=200, rho=0.3), ("k16", "score.25")),
    ("1 model per node", replace(BASE, capacity=1), ("k32", "score.25")),
    ("4 models per node", replace(BASE, capacity=4), ("k16", "score.25")),
    (
        "4 nodes, 16 models, load .4",
        replace(BASE, nodes={"here": 4}, models=16, rho=0.4),
        ("k16", "score.25", "bounded"),
    ),
    ("64 nodes, 256 models", replace(BASE, nodes={"here": 64}, models=256), ("k16", "score.25", "bounded")),
    ("Zipf 1.4, load .6", replace(BASE, zipf=1.4, rho=0.6), ("k16", "score.25")),
    ("bursts", replace(BASE, arrivals="bursts"), ("k16", "score.25", "exhaustive")),
    ("20 leases per job", replace(BASE, leases=20, jobs=600), ("k16", "score.25", "exhaustive")),
    ("nodes break down every 2 h", replace(BASE, node_mtbf=7200), ("k16", "score.25", "bounded")),
)


def simulated(workload: Workload, name: str, seeds: int) -> Figures:
    """The figures of one policy, over runs that differ in their orders."""
    bar = tables.progress(workload.jobs * workload.leases, name)
    runs = (Simulation(workload.scenario(seed), ALL[name]()).run(progress=bar) for seed in range(seeds))
    return pooled(runs)


def points(seeds: int, jobs: int, rhos: tuple[float, ...]) -> dict[float, list[Figures]]:
    """Every policy at every load."""
    found = {}
    for rho in rhos:
        found[rho] = [simulated(replace(BASE, rho=rho, jobs=jobs), name, seeds) for name in ALL]
        print(tables.table(f"\nload {rho:g}", found[rho]))
    return found


def others(seeds: int, jobs: int) -> dict[str, list[Figures]]:
    """Ours beside those that do best, where one thing differs; elsewhere 16 nodes, 64 models, 2 held, load .5."""
    found = {}
    for label, workload, names in OTHERS:
        workload = replace(workload, jobs=min(jobs, workload.jobs))
        found[label] = [simulated(workload, name, seeds) for name in names]
        print(tables.table(f"\n{label}", found[label]))
    return found


def scale(leases: int, nodes: int) -> dict[str, Any]:
    """How long this machine takes for a farm far above any site's."""
    per_job = 20
    farm = Workload(0.7, leases // per_job, {"here": nodes}, models=max(8, nodes // 5), leases=per_job)
    begin = time.process_time()
    figures = Simulation(farm.scenario(1), StreakBound()).run(progress=tables.progress(leases, "scale"))
    seconds = time.process_time() - begin
    found = {
        "nodes": nodes,
        "leases": figures.leases,
        "processor_seconds": round(seconds, 1),
        "microseconds_per_lease": round(seconds / figures.leases * 1e6, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "simulated_hours": round(figures.sim_hours, 2),
        "hit_rate": round(figures.hit_rate, 3),
    }
    print("\n" + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items()))
    return found


def aged(seeds: int, jobs: int) -> dict[str, Any]:
    """The rule beside simpler ones."""
    found = ageing.measure(seeds, jobs)
    ageing.show(found)
    return dict(found)


def snapped(size: int) -> dict[str, Any]:
    """How long every node of a farm has to wait for its answer, if all ask at once."""
    found = snapshot.measure(size)
    snapshot.show(size, found)
    return dict(found)


def day(jobs: int) -> tuple[Figures, list[Turn]]:
    """The autoscaler over a day and a night: up to 40 nodes that queue for two minutes and boot for one and a half."""
    orders = Workload(0.3, jobs, {"here": 40}, arrivals="diurnal", seconds=60)
    scaler = Autoscaler(limits(0, 40, 210), {"here": Supplier(40, queue_wait=120, boot=90)})
    simulation = Simulation(replace(orders.scenario(0), nodes={}), StreakBound(), scaler=scaler)
    figures = simulation.run(progress=tables.progress(jobs, "day"))
    print(tables.table("\na day and a night, 0 to 40 nodes", [figures]))
    print(tables.day(scaler.turns))
    return figures, scaler.turns


def main() -> None:
    parser = _command.parser(__doc__, quick="fewer orders, one run of each", plot=True)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--leases", type=int, default=10_000_000, help="of the part scale")
    given = parser.parse_args()
    found = measure(given)
    print(f"\n{tables.LEGEND}")
    _command.keep(found, given)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    seeds, jobs = (1, 600) if given.quick else (given.seeds, BASE.jobs)
    rhos = (0.3, 0.7) if given.quick else (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    found: dict[str, Any] = {"ours": list(OURS)}
    parts: dict[str, Callable[[], Any]] = {
        "points": lambda: _drawn(points(seeds, jobs, rhos), given.plot),
        "others": lambda: {label: [row.as_dict() for row in rows] for label, rows in others(seeds, jobs).items()},
        "ageing": lambda: aged(1 if given.quick else _AGEING_RUNS, jobs),
        "snapshot": lambda: snapped(_SNAPSHOT),
        "scale": lambda: scale(20_000 if given.quick else given.leases, 100 if given.quick else 10_000),
        "day": lambda: _day(1000 if given.quick else 20_000, given.plot),
    }
    for name in given.only:
        found[name] = parts[name]()
    return found


def _drawn(found: dict[float, list[Figures]], plot: Path | None) -> dict[str, list[dict[str, Any]]]:
    if plot:
        plots.against_load(found, plot)
    return {f"{rho:g}": [row.as_dict() for row in rows] for rho, rows in found.items()}


def _day(jobs: int, plot: Path | None) -> dict[str, Any]:
    figures, turns = day(jobs)
    if plot:
        title = f"{figures.node_hours:.0f} node-hours for {figures.leases} leases of a minute"
        plots.over_time(turns, title, plot.with_stem(f"{plot.stem}-day"))
    return {**figures.as_dict(), "turns": [{name: getattr(turn, name) for name in Turn.__slots__} for turn in turns]}


if __name__ == "__main__":
    main()
