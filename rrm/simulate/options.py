"""The command line of the simulator. What could not be done, or would say nothing, is refused before a run begins."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rrm.simulate import plots, typed
from rrm.simulate.arrivals import DAY, read_trace
from rrm.simulate.rivals import ALL
from rrm.simulate.workload import ARRIVALS, Workload

_USUAL = Workload()
_LONGEST = 1e6
_DEMAND: dict[str, Any] = {
    "rho": None,
    "jobs": _USUAL.jobs,
    "leases": _USUAL.leases,
    "seconds": _USUAL.seconds,
    "models": _USUAL.models,
    "zipf": _USUAL.zipf,
    "arrivals": _USUAL.arrivals,
    "owners": _USUAL.owners,
    "sessions": 0.0,
}
_SCALED: dict[str, Any] = {"boot": 30.0, "queue_wait": 0.0, "launch_failures": 0.0, "drain": 300.0}
_DEFAULTS: dict[str, Any] = {
    "nodes": None,
    "capacity": _USUAL.capacity,
    "load": _USUAL.load,
    "loads": None,
    "mtbf": None,
    "scale": None,
    "trace": None,
    "policies": ("k16",),
    "streak": None,
    "age": 2.0,
    "seeds": 3,
    "json": None,
    "plot": None,
    **_DEMAND,
    **_SCALED,
}
_NEEDS = {**dict.fromkeys(_SCALED, "scale"), "age": "streak", "loads": "trace"}
_USELESS = {"trace": (*_DEMAND, "seeds"), "scale": ("policies", "seeds")}


def read(about: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """What is asked for, with the orders of the trace; ends the program with a sentence where that makes no sense."""
    parser = _parser(about)
    named = vars(parser.parse_args(arguments))
    given = argparse.Namespace(**{**_DEFAULTS, **named})
    try:
        _check(given, named)
        _check_files(given)
        given.loads = typed.loads(given.loads) if given.loads else {}
        given.orders = read_trace(given.trace) if given.trace else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    given.rho = given.rho or ((0.3,) if given.scale else (0.3, 0.5, 0.7))
    return given


def _check(given: argparse.Namespace, named: dict[str, Any]) -> None:
    """Raises ValueError."""
    for name, other in _NEEDS.items():
        if name in named and other not in named:
            raise ValueError(f"{_option(name)} says nothing without {_option(other)}.")
    for name, others in _USELESS.items():
        useless = [_option(other) for other in others if other in named]
        if name in named and useless:
            raise ValueError(f"{', '.join(useless)} would say nothing beside {_option(name)}.")
    if given.scale and given.rho and len(given.rho) > 1:
        raise ValueError("--scale takes one load: --rho has several.")


def _check_files(given: argparse.Namespace) -> None:
    """Raises ValueError if what is found could not be kept."""
    if given.json:
        typed.writable(given.json)
    if given.plot:
        typed.writable(given.plot)
        plots.check(given.plot)
        if given.json and given.plot.resolve() == given.json.resolve():
            raise ValueError("--json and --plot name the same file.")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parser(about: str | None) -> argparse.ArgumentParser:
    """What it reads has those options alone that were given."""
    parser = argparse.ArgumentParser(
        prog="python -m rrm.simulate",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    farm = parser.add_argument_group("the farm")
    farm.add_argument("--nodes", type=typed.nodes, help="how many, or by site: lab=8,cluster=40 (16)")
    farm.add_argument("--capacity", type=typed.count, help="models that a node holds (2)")
    farm.add_argument("--load", type=typed.between(0, _LONGEST), help="seconds that a model takes to load (60)")
    farm.add_argument("--loads", type=Path, help='of single models of a trace: a JSON file {"model": seconds}')
    farm.add_argument("--mtbf", type=typed.above_zero, help="mean hours until a node breaks down")
    _scale_options(parser.add_argument_group("nodes that come and go"))
    _demand_options(parser.add_argument_group("the demand"))
    policy = parser.add_argument_group("the policy")
    policy.add_argument("--policies", type=typed.policies, help=f"all, or some of {', '.join(ALL)} (k16)")
    policy.add_argument("--streak", type=typed.count, help="a streak limit of your own, beside those of --policies")
    policy.add_argument("--age", type=typed.between(0, 1e4), help="and its age limit in load times (2)")
    parser.add_argument("--seeds", type=typed.count, help="runs of each case (3)")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--plot", type=Path, help="also draw them (needs matplotlib)")
    return parser


def _scale_options(scaled: argparse._ArgumentGroup) -> None:
    scaled.add_argument(
        "--scale",
        type=typed.scale,
        metavar="LEAST:MOST",
        help="let the autoscaler decide how many nodes there are; --nodes are the places of each site then",
    )
    wait = typed.between(0, 7 * DAY)
    scaled.add_argument("--boot", type=wait, help="seconds from the start of a node to its check-in (30)")
    scaled.add_argument("--queue-wait", type=wait, help="mean seconds in the cluster's queue before (0)")
    scaled.add_argument("--launch-failures", type=typed.part, help="part of the starts that fail, less than 1 (0)")
    scaled.add_argument(
        "--drain", type=typed.between(1, _LONGEST), help="seconds in which queued work is to be done (300)"
    )


def _demand_options(demand: argparse._ArgumentGroup) -> None:
    demand.add_argument("--trace", type=Path, help="orders: a .csv file, or JSON lines, see above")
    demand.add_argument("--rho", type=typed.rhos, help="loads of the farm if every lease hit (.3,.5,.7; --scale: .3)")
    demand.add_argument("--jobs", type=typed.count, help=f"({_USUAL.jobs})")
    demand.add_argument("--leases", type=typed.count, help="of a job (1)")
    demand.add_argument("--seconds", type=typed.between(1e-3, _LONGEST), help="mean length of a lease (20)")
    demand.add_argument("--models", type=typed.count, help=f"({_USUAL.models})")
    demand.add_argument("--zipf", type=typed.between(0, 10), help="how unequal models are; 0: alike (1)")
    demand.add_argument("--arrivals", choices=ARRIVALS)
    demand.add_argument("--owners", type=typed.count, help="(1)")
    demand.add_argument("--sessions", type=typed.between(0, 1e4), help="bookings of a node per hour, ten minutes each")
