"""The database side of booking, by rival schedulers on PostgreSQL and SQLite: how much in a second, and what breaks.

python -m benchmarks booking [--json FILE] [--quick] [--database postgresql sqlite]

Processes ask for ranges, deliver, book and request nodes by the service's own code; nothing is rendered or uploaded.
PostgreSQL writes to disk at each commit, as it does in use; SQLite as the service sets it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import services

_FULL = {"nodes": 1200, "tiles": 6000, "clients": 8, "seconds": 60.0}
_QUICK = {"nodes": 120, "tiles": 600, "clients": 4, "seconds": 8.0}
_SHOWN = ("leases", "leases_per_s", "tiles_per_s", "cycles_per_s", "median_ms", "p95_ms", "processor_ms")


@contextlib.contextmanager
def database(name: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database of this kind."""
    if name == "sqlite":
        yield f"sqlite:///{folder / 'rivals.sqlite3'}"
    else:
        with services.postgresql(durable=True) as url:
            yield url


def match(name: str, terms: dict[str, Any]) -> dict[str, Any]:
    """One match, in a process that sees its settings."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {
            "RRM_DATA": str(folder),
            "RRM_MAX_SESSIONS": "100000",
            "DATABASE_URL": stack.enter_context(database(name, folder)),
            "REDIS_URL": stack.enter_context(services.redis()),
        }
        command = (sys.executable, "-m", "benchmarks.rivals.match", json.dumps(terms))
        done = subprocess.run(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))


def show(name: str, figures: dict[str, Any]) -> None:
    """A table of the parts."""
    print(f"\n{name:<12}" + "".join(f"{column:>14}" for column in _SHOWN))
    for part, row in figures.items():
        if isinstance(row, dict):
            print(f"{part:<12}" + "".join(f"{row.get(column, ''):>14}" for column in _SHOWN))
    booking, broken = figures["booking"], {key: figures[key] for key in ("double_bookings", "cap_breaches")}
    print(f"booked {100 * booking['booked']:.2f} %, quota looked at {booking['looks']} times, broken: {broken}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="a tenth of the farm")
    parser.add_argument("--database", nargs="*", choices=("postgresql", "sqlite"), default=("postgresql", "sqlite"))
    options = parser.parse_args()
    results = {}
    for name in options.database:
        figures = match(name, _QUICK if options.quick else _FULL)
        rates = {key: figures["many_jobs"][key] for key in ("leases_per_s", "tiles_per_s")}
        results[name] = {**rates, **figures}
        show(name, figures)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
