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
from dataclasses import replace
from pathlib import Path
from typing import Any

from rrm.domain.scheduling import Policy
from rrm.simulate import plots, tables, typed
from rrm.simulate.arrivals import read_trace
from rrm.simulate.dispatch import Dispatcher, StreakBound
from rrm.simulate.engine import Scenario, Simulation
from rrm.simulate.rivals import ALL
from rrm.simulate.scaling import Autoscaler, Supplier, limits
from rrm.simulate.tally import Figures, pooled
from rrm.simulate.workload import ARRIVALS, Workload, of_trace


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        given.loads = typed.loads(given.loads) if given.loads else {}
        given.orders = read_trace(given.trace) if given.trace else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if given.scale is not None:
        _scaled(given)
    else:
        _compared(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rrm.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    farm = parser.add_argument_group("the farm")
    farm.add_argument("--nodes", default="16", type=typed.nodes, help="how many, or by site: lab=8,cluster=40")
    farm.add_argument("--capacity", type=typed.count, default=2, help="models that a node holds")
    farm.add_argument("--load", type=typed.least(0), default=60.0, help="seconds that a model takes to load")
    farm.add_argument("--loads", type=Path, help='of single models: a JSON file {"model": seconds}')
    farm.add_argument("--mtbf", type=typed.above_zero, help="mean hours until a node breaks down")
    scaled = parser.add_argument_group("nodes that come and go")
    scaled.add_argument(
        "--scale", type=typed.scale, metavar="LEAST:MOST", help="let the autoscaler decide how many nodes there are"
    )
    scaled.add_argument("--boot", type=float, default=30.0, help="seconds from the start of a node to its check-in")
    scaled.add_argument("--queue-wait", type=float, default=0.0, help="mean seconds in the cluster's queue before")
    scaled.add_argument("--launch-failures", type=float, default=0.0, help="part of the starts that fail")
    scaled.add_argument("--drain", type=float, default=300.0, help="seconds in which queued work is to be done")
    _demand_options(parser.add_argument_group("the demand"))
    policy = parser.add_argument_group("the policy")
    policy.add_argument("--policies", type=typed.policies, default="k16", help=f"all, or some of {', '.join(ALL)}")
    policy.add_argument("--streak", type=typed.count, help="a streak limit of your own, beside those of --policies")
    policy.add_argument("--age", type=float, default=2.0, help="and its age limit in load times")
    parser.add_argument("--seeds", type=typed.count, default=3, help="runs of each case")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--plot", type=Path, help="also draw them (needs matplotlib)")
    return parser


def _demand_options(demand: argparse._ArgumentGroup) -> None:
    usual = Workload()
    demand.add_argument("--trace", type=Path, help="orders: a .csv file, or JSON lines, see above")
    demand.add_argument("--rho", type=typed.rhos, default="0.3,0.5,0.7", help="loads of the farm if every lease hit")
    demand.add_argument("--jobs", type=typed.count, default=usual.jobs)
    demand.add_argument("--leases", type=typed.count, default=usual.leases, help="of a job")
    demand.add_argument("--seconds", type=typed.above_zero, default=usual.seconds, help="mean length of a lease")
    demand.add_argument("--models", type=typed.count, default=usual.models)
    demand.add_argument("--zipf", type=float, default=usual.zipf, help="how unequal models are; 0: alike")
    demand.add_argument("--arrivals", choices=ARRIVALS, default=usual.arrivals)
    demand.add_argument("--owners", type=typed.count, default=usual.owners)
    demand.add_argument(
        "--sessions", type=typed.least(0), default=0.0, help="bookings of a node per hour, of ten minutes each"
    )


def _workload(given: argparse.Namespace, rho: float) -> Workload:
    same = {name: value for name, value in vars(given).items() if name in Workload.__slots__ and name != "rho"}
    node_mtbf = None if given.mtbf is None else given.mtbf * 3600
    return Workload(rho, **(same | {"sessions_per_hour": given.sessions, "node_mtbf": node_mtbf}))


def _dispatchers(given: argparse.Namespace) -> list[Any]:
    made: list[Any] = [ALL[name] for name in given.policies]
    if given.streak is not None:
        made.append(lambda: StreakBound(Policy(streak_limit=given.streak, age_factor=given.age)))
    return made


def _cases(given: argparse.Namespace) -> dict[float, list[Scenario]]:
    """By load, the runs of each policy; a trace is one case, of a load that is not known before."""
    if given.orders is not None:
        return {0.0: [of_trace(given.orders, given.nodes, given.capacity, given.loads, given.load)]}
    return {rho: [_workload(given, rho).scenario(seed) for seed in range(given.seeds)] for rho in given.rho}


def _compared(given: argparse.Namespace) -> None:
    found: dict[float, list[Figures]] = {}
    for rho in _cases(given):
        found[rho] = []
        for make in _dispatchers(given):
            found[rho].append(pooled(_run(scenario, make()) for scenario in _cases(given)[rho]))
        print(tables.table(f"\nload {rho:g}" if rho else f"\n{given.trace}", found[rho]))
    print(f"\n{tables.LEGEND}")
    if given.json:
        rows = [{"rho": rho, **figures.as_dict()} for rho, all_ in found.items() for figures in all_]
        given.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    if given.plot:
        plots.against_load(found, given.plot)


def _run(scenario: Scenario, dispatcher: Dispatcher) -> Figures:
    orders = list(scenario.orders)
    bar = tables.progress(sum(order.leases for order in orders), dispatcher.name)
    return Simulation(replace(scenario, orders=orders), dispatcher).run(progress=bar)


def _scaled(given: argparse.Namespace) -> None:
    """A farm whose nodes come and go, until everything is done and the nodes had time to go."""
    least, most = given.scale
    rho = given.rho[0]
    given.nodes = dict.fromkeys(given.nodes, most)
    scenario = replace(next(iter(_cases(given).values()))[0], nodes={})
    orders = list(scenario.orders)
    suppliers = {site: Supplier(most, given.queue_wait, given.boot, given.launch_failures) for site in given.nodes}
    scaler = Autoscaler(limits(least, most, given.boot + given.queue_wait, given.drain), suppliers, scenario.seed)
    simulation = Simulation(replace(scenario, orders=orders), StreakBound(), scaler=scaler)
    figures = simulation.run(progress=tables.progress(sum(order.leases for order in orders), "autoscaler"))
    print(tables.table(f"load {rho:g} of {most} nodes", [figures]))
    print(f"\n{tables.day(scaler.turns)}\n\n{tables.LEGEND}")
    if given.json:
        turns = [{name: getattr(turn, name) for name in turn.__slots__} for turn in scaler.turns]
        given.json.write_text(json.dumps({"rows": [figures.as_dict()], "turns": turns}, indent=1) + "\n")
    if given.plot:
        plots.over_time(scaler.turns, f"{figures.node_hours:.0f} node-hours", given.plot)


if __name__ == "__main__":
    main()
