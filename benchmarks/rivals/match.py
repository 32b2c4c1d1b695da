"""Rival schedulers at the database that DATABASE_URL names: what they give out in a second, and what they break.

python -m benchmarks.rivals.match '{"nodes": 1200, "tiles": 6000, "clients": 8, "seed": 1, "seconds": 60}'

The folder RRM_DATA is this program's own; the database is emptied before each part. The last line printed is JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import django
from django.apps import apps

if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")
    django.setup()

from django.core.management import call_command
from django.db.models import F, Sum

from benchmarks.rivals import ground
from benchmarks.rivals.ground import Size
from rrm.domain.states import NODE_LIVE, LeaseState
from rrm.farm import consistency
from rrm.farm.models import Job, Lease, Node, Quota, Resource, Session, Site

Figures = dict[str, Any]


@dataclass(frozen=True)
class Terms:
    """How many nodes and tiles, how many schedulers at once, and how long a part may take at most."""

    nodes: int
    tiles: int
    clients: int
    seed: int = 1
    seconds: float = 60.0
    parts: tuple[str, ...] = ("booking", "saturation", "many_jobs", "one_job")


def play(terms: Terms) -> Figures:
    """The parts, one after the other, and their sums."""
    figures = {part: _PARTS[part](terms) for part in terms.parts}
    return {
        "double_bookings": sum(part["double_bookings"] for part in figures.values()),
        "cap_breaches": sum(part["cap_breaches"] for part in figures.values()),
        **figures,
    }


def _booking(terms: Terms) -> Figures:
    """Every tile is to be given out and delivered, while one of the owners may not have more than so many nodes."""
    limit = max(2, terms.nodes // 24)
    _begin(Size(terms.nodes, jobs=12, tiles=terms.tiles, limited_to=limit))
    with _audited(limit) as audit:
        done = _run("take", terms, deliver=True, ahead=2, seconds=3 * terms.seconds, warm=False)
    return {**_rate(done), **_judged(audit), "booked": _booked(), "finished": sum(one["finished"] for one in done)}


def _saturation(terms: Terms) -> Figures:
    """Nodes take what they may and keep it; people book, and nodes are asked for, beyond what there is."""
    nodes, limit = terms.nodes // 3, max(2, terms.nodes // 60)
    free = nodes // 10
    _begin(Size(nodes, jobs=12, tiles=terms.tiles // 2, limited_to=limit, answering=free))
    booked = sum(one["booked"] for one in _run("book", terms, tries=2))
    with _audited(limit) as audit:
        done = _run("take", terms, deliver=False, ahead=3, seconds=terms.seconds, warm=False)
    room = max(4, nodes // 10)
    ground.limit_nodes(room)
    started = sum(one["started"] for one in _run("request", terms, tries=3))
    figures = {**_rate(done), **_judged(audit), "sessions": booked, "nodes_started": started}
    figures["double_bookings"] += booked - Session.objects.filter(state="READY").values("node").distinct().count()
    figures["cap_breaches"] += _limits_exceeded() + (booked > free)
    return figures


def _plenty(terms: Terms, jobs: int) -> Figures:
    """How quickly ranges are given out where there is plenty; and with their deliveries."""
    _begin(Size(terms.nodes, jobs=jobs, tiles=50_000 * jobs, measured=True))
    done = _run("take", terms, deliver=False, ahead=3, seconds=terms.seconds / 2, warm=True)
    figures = {**_rate(done), **_judged({})}
    _begin(Size(terms.nodes, jobs=jobs, tiles=50_000 * jobs, measured=True))
    cycles = _run("take", terms, deliver=True, ahead=1, seconds=min(10.0, terms.seconds / 4), warm=True)
    return {**figures, "cycles_per_s": _rate(cycles)["leases_per_s"]}


_PARTS: Mapping[str, Callable[[Terms], Figures]] = {
    "booking": _booking,
    "saturation": _saturation,
    "many_jobs": partial(_plenty, jobs=4),
    "one_job": partial(_plenty, jobs=1),
}


def _begin(size: Size) -> None:
    call_command("flush", interactive=False, verbosity=0)
    ground.lay_out(size)


def _run(role: str, terms: Terms, **options: Any) -> list[Figures]:
    """What `clients` processes say that did this at the same time."""
    if role == "take":
        options["seed"] = terms.seed
    players = [_player(role, index, terms.clients, options) for index in range(terms.clients)]
    for player in players:
        _go(player)
    return [_said(player) for player in players]


@contextmanager
def _audited(limit: int) -> Iterator[Figures]:
    """An auditor looks on; what it saw is there afterwards."""
    auditor = _player("audit", 0, 1, {"limited_to": limit})
    _go(auditor)
    seen: Figures = {}
    try:
        yield seen
    finally:
        _go(auditor)
        seen |= _said(auditor)


def _player(role: str, index: int, of: int, options: Figures) -> subprocess.Popen[str]:
    told = json.dumps({"index": index, "of": of, **options})
    command = (sys.executable, "-m", "benchmarks.rivals.player", role, told)
    player = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert player.stdout is not None
    if player.stdout.readline() != "ready\n":
        raise SystemExit(f"a scheduler did not start ({player.wait()})")
    return player


def _go(player: subprocess.Popen[str]) -> None:
    assert player.stdin is not None
    player.stdin.write("go\n")
    player.stdin.flush()


def _said(player: subprocess.Popen[str]) -> Figures:
    answer = player.communicate()[0]
    if player.returncode:
        raise SystemExit(f"a scheduler failed ({player.returncode})")
    return dict(json.loads(answer))


def _rate(done: list[Figures]) -> Figures:
    seconds = max(one["ended"] for one in done) - min(one["began"] for one in done)
    millis = sorted(value for one in done for value in one["millis"])
    leases, tiles = sum(one["took"] for one in done), sum(one["tiles"] for one in done)
    return {
        "seconds": round(seconds, 2),
        "leases": leases,
        "tiles": tiles,
        "leases_per_s": round(leases / seconds, 1),
        "tiles_per_s": round(tiles / seconds, 1),
        "median_ms": round(statistics.median(millis), 2),
        "processor_ms": round(1e3 * sum(one["cpu"] for one in done) / max(leases, 1), 2),
        "p95_ms": round(millis[int(0.95 * len(millis))], 2),
    }


def _judged(audit: Figures) -> Figures:
    """What the rows say now. Files are not looked for: nothing was rendered."""
    rules = [rule for rule in consistency.INVARIANTS if rule is not consistency.files_are_there]
    problems = [problem for rule in rules for problem in rule()]
    for problem in problems[:10]:
        print(problem, file=sys.stderr)
    return {
        "double_bookings": sum(" are in " in problem for problem in problems),
        "inconsistencies": len(problems),
        "cap_breaches": audit.get("quota_breaches", 0) + _quotas_exceeded(),
        **audit,
    }


def _booked() -> float:
    """The part of all tiles that was given out."""
    held = Lease.objects.filter(state__in=[LeaseState.ACTIVE, LeaseState.DONE], is_copy=False)
    given = held.aggregate(n=Sum(F("stop") - F("start")))["n"] or 0
    return round(float(given) / float(Job.objects.aggregate(n=Sum("tiles"))["n"]), 5)


def _quotas_exceeded() -> int:
    exceeded = 0
    for quota in Quota.objects.exclude(max_nodes=None):
        at_work = Lease.objects.filter(state=LeaseState.ACTIVE, job__owner=quota.owner).order_by()
        exceeded += at_work.values("node").distinct().count() > (quota.max_nodes or 0)
    return exceeded


def _limits_exceeded() -> int:
    live = Node.objects.filter(state__in=NODE_LIVE)
    sites = sum(live.filter(site=site).count() > site.max_nodes for site in Site.objects.all())
    return sites + sum(live.filter(resource=each).count() > each.max_nodes for each in Resource.objects.all())


def main(terms: str) -> None:
    call_command("migrate", verbosity=0)
    print(json.dumps(play(Terms(**json.loads(terms)))))


if __name__ == "__main__":
    main(sys.argv[1])
