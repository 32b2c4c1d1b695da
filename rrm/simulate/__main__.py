"""Try a farm before it is built: hit rate, waits and node-hours of your nodes under your orders, by policy.

python -m rrm.simulate --nodes 16 --models 64 --load 60 --seconds 20 --rho .3,.5,.7 --policies all
python -m rrm.simulate --nodes lab=8,cluster=40 --trace orders.csv --load 45
python -m rrm.simulate --arrivals diurnal --jobs 40000 --seconds 60 --scale 0:40 --boot 90 --queue-wait 120 --rho .3

Orders have time (seconds), model and seconds, and may have leases, owner and priority; a CSV file begins with a line of
these names.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rrm.domain.scheduling import Policy
from rrm.simulate import options, plots, tables
from rrm.simulate.arrivals import DAY
from rrm.simulate.dispatch import Dispatcher, StreakBound
from rrm.simulate.engine import Scenario, Simulation, Stuck
from rrm.simulate.rivals import ALL
from rrm.simulate.scaling import Autoscaler, Supplier, limits
from rrm.simulate.tally import Figures, pooled
from rrm.simulate.workload import Workload, of_trace


def main(arguments: list[str] | None = None) -> None:
    given = options.read(__doc__, arguments)
    try:
        if given.scale is not None:
            _scaled(given)
        else:
            _compared(given)
    except (Stuck, OSError) as error:
        sys.exit(f"python -m rrm.simulate: {error}")
    except OverflowError:
        sys.exit("python -m rrm.simulate: The run would last beyond the year 9999.")


def _workload(given: argparse.Namespace, rho: float, nodes: Mapping[str, int]) -> Workload:
    same = {name: value for name, value in vars(given).items() if name in Workload.__slots__}
    node_mtbf = None if given.mtbf is None else given.mtbf * 3600
    return Workload(**{**same, "rho": rho, "nodes": nodes, "sessions_per_hour": given.sessions, "node_mtbf": node_mtbf})


def _dispatchers(given: argparse.Namespace) -> list[Any]:
    made: list[Any] = [ALL[name] for name in given.policies]
    if given.streak is not None:
        made.append(lambda: StreakBound(Policy(streak_limit=given.streak, age_factor=given.age)))
    return made


def _cases(given: argparse.Namespace, nodes: Mapping[str, int]) -> dict[float, list[Scenario]]:
    """By load, the runs of each policy; a trace is one case, of a load that is not known before."""
    if given.orders is not None:
        scenario = of_trace(given.orders, nodes, given.capacity, given.loads, given.load)
        return {0.0: [replace(scenario, node_mtbf=None if given.mtbf is None else given.mtbf * 3600)]}
    return {rho: [_workload(given, rho, nodes).scenario(seed) for seed in range(given.seeds)] for rho in given.rho}


def _compared(given: argparse.Namespace) -> None:
    found: dict[float, list[Figures]] = {}
    nodes = given.nodes or {"here": 16}
    for rho in _cases(given, nodes):
        found[rho] = []
        for make in _dispatchers(given):
            found[rho].append(pooled(_run(scenario, make()) for scenario in _cases(given, nodes)[rho]))
        print(tables.table(f"\nload {rho:g}" if rho else f"\n{given.trace}", found[rho]))
    print(f"\n{tables.LEGEND}")
    _kept(given, [{"rho": rho, **figures.as_dict()} for rho, all_ in found.items() for figures in all_])
    if given.plot:
        plots.against_load(found, given.plot)


def _run(scenario: Scenario, dispatcher: Dispatcher) -> Figures:
    orders = list(scenario.orders)
    bar = tables.progress(sum(order.leases for order in orders), dispatcher.name)
    return Simulation(replace(scenario, orders=orders), dispatcher).run(progress=bar)


def _scaled(given: argparse.Namespace) -> None:
    """A farm whose nodes come and go, until everything is done and the nodes had time to go."""
    least, most = given.scale
    places = given.nodes or {"here": most}
    most = min(most, sum(places.values()))
    start = given.boot + given.queue_wait
    [case] = _cases(given, {"here": most}).values()
    orders = list(case[0].orders)
    scenario = replace(case[0], orders=orders, nodes={}, patience=max(DAY, 10 * start))
    suppliers = {
        site: Supplier(many, given.queue_wait, given.boot, given.launch_failures) for site, many in places.items()
    }
    scaler = Autoscaler(limits(min(least, most), most, start, given.drain), suppliers, scenario.seed)
    simulation = Simulation(scenario, _dispatchers(given)[-1](), scaler=scaler)
    figures = simulation.run(progress=tables.progress(sum(order.leases for order in orders), "autoscaler"))
    load = f"load {given.rho[0]:g}" if given.orders is None else str(given.trace)
    print(tables.table(f"{load}, {least} to {most} nodes", [figures]))
    print(f"\n{tables.day(scaler.turns)}\n\n{tables.LEGEND}")
    turns = [{name: getattr(turn, name) for name in turn.__slots__} for turn in scaler.turns]
    _kept(given, [figures.as_dict()], turns=turns)
    if given.plot:
        plots.over_time(scaler.turns, f"{figures.node_hours:.0f} node-hours", given.plot)


def _kept(given: argparse.Namespace, rows: Sequence[Any], **more: Any) -> None:
    if given.json:
        given.json.write_text(json.dumps({"rows": rows, **more}, indent=1) + "\n")


if __name__ == "__main__":
    main()
