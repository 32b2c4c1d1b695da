"""What looking at the farm costs those who work on SQLite: claims beside dashboards, which may read in several ways.

python -m benchmarks looking [--json FILE] [--quick]

One process asks for ranges and delivers them all the time. Another reads what `GET farm/` has, ten times a second: at
one instant, as the service does; in a transaction that may write; or query by query, each of which sees the farm a
little later.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import django

from benchmarks import _command

_FULL = {"nodes": 300, "tiles": 500_000, "seconds": 10.0}
_QUICK = {"nodes": 60, "tiles": 300_000, "seconds": 3.0}
_PERIOD = 0.1
Figures = dict[str, Any]
Way = Callable[[], AbstractContextManager[object]]


def ways() -> Mapping[str, Way | None]:
    """How the farm may be looked at; None: not at all."""
    from django.db import transaction

    from rrm.farm.reading import one_instant

    return {"nobody": None, "one instant": one_instant, "may write": transaction.atomic, "single": nullcontext}


def measure(way: Way | None, nodes: int, tiles: int, seconds: float) -> Figures:
    """What the one who asks and the one who looks had to wait, in milliseconds."""
    from django.core.management import call_command

    from benchmarks.rivals import ground

    call_command("flush", interactive=False, verbosity=0)
    ground.lay_out(ground.Size(nodes, jobs=8, tiles=tiles, measured=True))
    options = {"index": 0, "of": 1, "deliver": True, "ahead": 1, "seconds": seconds, "seed": 1, "warm": True}
    command = (sys.executable, "-m", "benchmarks.rivals.player", "take", json.dumps(options))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as player:
        assert player.stdin is not None
        assert player.stdout is not None
        player.stdout.readline()
        player.stdin.write("go\n")
        player.stdin.flush()
        looks = list(_looks(way, seconds)) if way else []
        claims = sorted(json.loads(player.communicate()[0])["millis"])
    return {
        "claims_per_s": round(len(claims) / seconds, 1),
        **{f"claim_{name}": value for name, value in _spread(claims).items()},
        **{f"look_{name}": value for name, value in _spread(looks).items()},
        "looks": len(looks),
    }


def _looks(way: Way, seconds: float) -> Iterator[float]:
    from django.utils import timezone

    from rrm.farm.snapshot import farm_snapshot

    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        began = time.perf_counter()
        with way():
            farm_snapshot(timezone.now())
        took = time.perf_counter() - began
        yield 1e3 * took
        time.sleep(max(0.0, _PERIOD - took))


def _spread(millis: list[float]) -> Figures:
    found = sorted(millis)
    if not found:
        return {}
    return {
        "median": round(statistics.median(found), 2),
        "p95": round(found[int(0.95 * len(found))], 2),
        "most": round(found[-1], 1),
    }


def main() -> None:
    given = _command.parser(__doc__, quick="a smaller farm, for less long").parse_args()
    with tempfile.TemporaryDirectory(prefix="rrm-looking-") as folder:
        os.environ |= {"RRM_DATA": folder, "DATABASE_URL": f"sqlite:///{folder}/looking.sqlite3"}
        os.environ["DJANGO_SETTINGS_MODULE"] = "rrm.settings"
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        size = _QUICK if given.quick else _FULL
        found = {}
        for name, way in ways().items():
            found[name] = measure(way, int(size["nodes"]), int(size["tiles"]), size["seconds"])
            print(f"{name:<12}", found[name], flush=True)
    _command.keep(found, given)


if __name__ == "__main__":
    main()
