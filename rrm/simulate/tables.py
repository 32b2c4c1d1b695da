"""What a simulation found, as text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence

from rrm.simulate.scaling import Turn
from rrm.simulate.tally import Figures

HEAD = (
    f"{'policy':29}{'hits':>6}{'mean s':>9}{'p95 s':>9}{'wait s':>9}{'p95':>8}{'longest':>9}"
    f"{'max/mean':>9}{'node-h':>8}{'loads/h':>9}"
)
LEGEND = (
    "hits: leases that found their model; mean, p95: from order to delivery; wait: until a node turned to the job;\n"
    "max/mean: busy time of the busiest node beside the mean; node-h: until the last job was done."
)


def row(found: Figures) -> str:
    return (
        f"{found.policy:29}{found.hit_rate:6.2f}{found.mean_s:9.0f}{found.p95_s:9.0f}{found.wait_mean_s:9.0f}"
        f"{found.wait_p95_s:8.0f}{found.wait_max_s:9.0f}{found.imbalance:9.2f}{found.node_hours:8.0f}"
        f"{found.loads_per_hour:9.0f}"
    )


def table(title: str, found: Iterable[Figures]) -> str:
    return "\n".join([title, HEAD, *map(row, found)])


def day(turns: Sequence[Turn], lines: int = 24) -> str:
    """The autoscaler's plans, one line for each part of the time."""
    step = max(1, len(turns) // lines)
    rows = [f"{'time':>8}{'want':>6}{'ready':>7}{'starting':>10}{'launched':>10}{'let go':>8}"]
    for begin in range(0, len(turns), step):
        part = turns[begin : begin + step]
        first = part[0]
        launched, drained = sum(turn.launched for turn in part), sum(turn.drained for turn in part)
        hours, minutes = divmod(int(first.at) // 60, 60)
        clock = f"{hours}:{minutes:02}"
        rows.append(f"{clock:>8}{first.want:6}{first.ready:7}{first.starting:10}{launched:10}{drained:8}")
    return "\n".join(rows)


def progress(total: int, label: str) -> Callable[[int], None]:
    """A bar on standard error that is told how much is done; silent where nobody looks."""
    if not sys.stderr.isatty():
        return lambda done: None
    begin = time.monotonic()

    def show(done: int) -> None:
        part = min(1.0, done / max(1, total))
        bar = ("#" * round(30 * part)).ljust(30, ".")
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r{label[:29]:29} [{bar}] {part:4.0%} {time.monotonic() - begin:4.0f} s{end}")
        sys.stderr.flush()

    return show
