"""The figures as tables for people, with the goals they are held against."""

from __future__ import annotations

from statistics import median
from typing import Any

Figures = dict[str, Any]


def show(figures: Figures) -> None:
    """Print what there is."""
    about = figures["machine"]
    print(f"\n{about['processor']}, {about['cores']} cores, Python {about['python']}, {about['date']}\n")
    for name, part in (("pictures", _pictures), ("starts", _starts), ("requests", _requests), ("watched", _watched)):
        if name in figures:
            part(figures[name])


def middle(rows: list[Figures], key: str) -> float:
    return float(median(row[key] for row in rows))


def _pictures(found: Figures) -> None:
    print(f"{'seconds (medians)':30}{'bare':>8}{'stack':>8}{'ratio':>7}{'rest':>8}{'lease':>8}{'tiles':>8}{'made':>8}")
    for name, row in found.items():
        bare, stack = middle(row["bare"], "wall"), middle(row["stack"], "completed")
        lease, tiles, rendered = (middle(row["stack"], key) for key in ("first_lease", "first_tiles", "rendered"))
        times = "".join(f"{seconds:8.3f}" for seconds in (stack - bare, lease, tiles, rendered))
        print(f"{name:30}{bare:8.3f}{stack:8.3f}{bare / stack:7.2f}{times}")
    print("  bare: render and encode alone. stack: order to COMPLETED. ratio: bare / stack. rest: stack - bare.")
    print("  lease, tiles, made: order to first lease, to first tiles shown, to last tile stored (then: composing).\n")
    _processor(found)
    _goals(found)
    _earlier(found)


def _processor(found: Figures) -> None:
    roles = ("node", "web", "worker", "broker", "supervisor")
    print(
        f"{'processor seconds (medians)':30}{'bare':>8}" + "".join(f"{role:>11}" for role in roles) + f"{'ranges':>8}"
    )
    for name, row in found.items():
        spent = [median(timed["cpu"].get(role, 0.0) for timed in row["stack"]) for role in roles]
        cells = "".join(f"{seconds:11.2f}" for seconds in spent)
        print(f"{name:30}{middle(row['bare'], 'cpu'):8.2f}{cells}{middle(row['stack'], 'ranges'):8.0f}")
    print()


def _goals(found: Figures) -> None:
    for name, row in found.items():
        bare, stack = middle(row["bare"], "wall"), middle(row["stack"], "completed")
        if name.startswith("wide"):
            _goal(f"{name}: bare / stack", bare / stack, 0.8, more=True)
        elif name.startswith("burst"):
            _goal(f"{name}: order to COMPLETED, s", stack, 0.8)
            _goal(f"{name}: order to first tiles, s", middle(row["stack"], "first_tiles"), 0.5)
    print()


def _goal(name: str, value: float, goal: float, *, more: bool = False) -> None:
    is_met = value >= goal if more else value <= goal
    print(f"{name:52}{value:9.3f}   goal {'≥' if more else '≤'} {goal:g}   {'met' if is_met else 'MISSED'}")


def _earlier(found: Figures) -> None:
    print(f"{'whole system, s':30}{'earlier':>9}{'here':>9}{'times as fast':>15}")
    for name, row in found.items():
        if row["earlier s"]:
            here = middle(row["stack"], "completed")
            ratio = row["earlier s"] / here
            print(f"{name:30}{row['earlier s']:9.1f}{here:9.3f}{ratio:15.0f}   {row['earlier system']}")
    print()


def _starts(found: Figures) -> None:
    _goal("manage.py run on an empty folder until ready, s", median(found["ready s"]), 10)
    _goal("SIGTERM until everything is gone, s", median(found["stopped s"]), 10)


def _requests(found: Figures) -> None:
    for name, value in found.items():
        print(f"{name:52}{value:9.2f}")


def _watched(found: Figures) -> None:
    alone, seen = median(found["alone s"]), median(found["watched s"])
    print(f"valley alone {alone:.3f} s, watched by {found['viewers']} streams {seen:.3f} s")
    _goal(f"slowdown by {found['viewers']} viewers of the job, %", found["slowdown %"], 10)
