"""The whole service beside the bare renderer: pictures, latencies, requests, watchers, start; and earlier systems.

python -m benchmarks stack [--json FILE] [--plot FILE.png] [--quick] [--repeats 5] [--viewers 200] [--only PART …]

Everything is measured in one run on fresh copies of the service, bare and through the stack by turns, so that what
else the machine does meets both. Figures are medians; the JSON has every single one.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

from benchmarks import _command
from benchmarks.whole import bare, calls, inputs, report, through
from benchmarks.whole.inputs import Input
from benchmarks.whole.viewers import viewers
from tests.acceptance.stack import PREFIX, Client, Stack, running_rrm

OUTPUTS = (("png",), ("png", "counts"))
Figures = dict[str, Any]


@dataclass(frozen=True)
class Options:
    repeats: int
    viewers: int
    quick: bool


@dataclass(frozen=True)
class Bench:
    """A running copy with one warm node, and what measures it."""

    stack: Stack
    client: Client
    watcher: through.Watcher
    options: Options


@contextmanager
def warm_copy(options: Options) -> Iterator[Bench]:
    """One node that stays, and that has rendered before."""
    with (
        tempfile.TemporaryDirectory(prefix="rrm-bench-") as folder,
        running_rrm(Path(folder)) as stack,
        stack.client() as client,
        stack.client() as listener,
        through.watching(listener) as watcher,
    ):
        client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 1, "idle_timeout": 3600})
        for view in (inputs.BURST, inputs.VALLEY):
            client.finished(client.submit(**view.order(OUTPUTS[1])))
        yield Bench(stack, client, watcher, options)


def starts(options: Options) -> Figures:
    """Seconds from `manage.py run` on an empty folder until /readyz says yes, and from SIGTERM until all is gone."""
    ready, stopped = [], []
    for _ in range(1 if options.quick else 3):
        with tempfile.TemporaryDirectory(prefix="rrm-bench-") as folder:
            with running_rrm(Path(folder)) as stack:
                ready.append(stack.ready_seconds)
            stopped.append(stack.stop_seconds)
    return {"ready s": ready, "stopped s": stopped}


def pictures(bench: Bench) -> Figures:
    """Each view with each set of outputs, bare and through the stack by turns."""
    wide = inputs.LESS_WIDE if bench.options.quick else inputs.WIDE
    found: Figures = {}
    for view in (inputs.BURST, inputs.VALLEY, inputs.ROWS, wide):
        for outputs in OUTPUTS[:1] if view is wide else OUTPUTS:
            name = f"{view.name} {view.width}x{view.height} {'+'.join(outputs)}"
            say(name)
            repeats = min(bench.options.repeats, 3) if view is wide else bench.options.repeats
            found[name] = _side_by_side(bench, view, outputs, repeats)
    return found


def _side_by_side(bench: Bench, view: Input, outputs: tuple[str, ...], repeats: int) -> Figures:
    alone, whole, load = [], [], []
    for _ in range(repeats):
        load.append(os.getloadavg()[0])
        alone.append(bare.render(view, outputs))
        whole.append(through.render(bench.stack, bench.client, bench.watcher, view.order(outputs)))
    return {
        "bare": [asdict(spent) for spent in alone],
        "stack": [asdict(timed) for timed in whole],
        "load": load,
        "earlier s": view.earlier,
        "earlier system": view.earlier_system,
    }


def requests(bench: Bench) -> Figures:
    """Requests per second for one job's body, and a node's round trips."""
    job = bench.client.submit(**inputs.BURST.order(("png",)))
    bench.client.finished(job)
    seconds = 1.0 if bench.options.quick else 3.0
    rates = {
        f"GET job/{{id}}/ per second, {count} connections": calls.reading(bench.stack, job, seconds, count)
        for count in (1, 8)
    }
    return {**rates, **calls.lease_round_trips(bench.stack, bench.client, 30 if bench.options.quick else 100)}


def watched(bench: Bench) -> Figures:
    """Valley with and without many viewers of the job, by turns. The node sleeps until all of them are connected."""
    alone: list[float] = []
    seen: list[float] = []
    reports: list[Figures] = []
    for _ in range(1 if bench.options.quick else max(3, bench.options.repeats)):
        alone.append(_held_valley(bench, 0, reports))
        seen.append(_held_valley(bench, bench.options.viewers, reports))
    slowdown = 100 * (statistics.median(seen) / statistics.median(alone) - 1)
    return {
        "alone s": alone,
        "watched s": seen,
        "slowdown %": slowdown,
        "viewers": bench.options.viewers,
        "sent": reports,
    }


def _held_valley(bench: Bench, count: int, reports: list[Figures]) -> float:
    """Seconds from the moment that the node goes on until the job is COMPLETED."""
    nodes = [process.pid for process in bench.stack.processes("node")]
    for node in nodes:
        os.kill(node, SIGSTOP)
    try:
        job = bench.client.submit(**inputs.VALLEY.order(OUTPUTS[1]))
        path, token = f"{PREFIX}job/{job}/events", bench.stack.secret("operator.token")
        with viewers(bench.stack.port, path, token, count) as told:
            began = time.monotonic()
            for node in nodes:
                os.kill(node, SIGCONT)
            seconds = bench.watcher.ended(job).at - began
    finally:
        for node in nodes:
            os.kill(node, SIGCONT)
    if count:
        reports.append(told)
    return seconds


PARTS: dict[str, Callable[[Bench], Figures]] = {"pictures": pictures, "requests": requests, "watched": watched}


def say(text: str) -> None:
    print(f"  … {text}  (load {os.getloadavg()[0]:.1f})", flush=True)


def machine() -> Figures:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(": ")[2] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def measure(options: Options, parts: list[str]) -> Figures:
    figures: Figures = {"machine": machine()}
    if "starts" in parts:
        say("starts")
        figures["starts"] = starts(options)
    if chosen := [name for name in PARTS if name in parts]:
        with warm_copy(options) as bench:
            for name in chosen:
                say(name)
                figures[name] = PARTS[name](bench)
    figures["load afterwards"] = os.getloadavg()[0]
    return figures


def _draw(figures: dict[str, Any], target: Path) -> None:
    from benchmarks.whole import plot  # needs matplotlib

    plot.draw(figures, target)


def main() -> None:
    parser = _command.parser(__doc__, quick="fewer repeats and a smaller wide view", plot=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--only", nargs="+", default=["starts", *PARTS], choices=["starts", *PARTS])
    given = parser.parse_args()
    options = Options(1 if given.quick else given.repeats, given.viewers, given.quick)
    figures = measure(options, given.only)
    report.show(figures)
    _command.keep(figures, given, _draw)


if __name__ == "__main__":
    main()
