"""What it saves to send work where its model is: deep views on two real nodes, by the shipped policy and without it.

python -m benchmarks stickiness [--json FILE] [--plot FILE.png] [--quick] [--jobs 160] [--models 8]

Small pictures of several deep models come in a shuffled order, the same each time. A node of one core holds two of the
models, and each load computes the reference orbit: it is neither fetched from the manager nor read from a file.
The same jobs are rendered by the shipped policy and by one that gives whichever node is free the job that is first in
turn (least loaded: each node has one job at a time). Hit rates are told by the manager, loads and seconds by the nodes.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import yaml

from benchmarks import _command
from tests.acceptance.stack import ROOT, Client, Stack, running_rrm

MODELS = ROOT / "deployment" / "populate" / "embedded.yaml"
SITE = ROOT / "benchmarks" / "stickiness_site"
PATHS = f"{SITE}{os.pathsep}{ROOT}"
POLICIES = ("shipped", "least-loaded")
STEPS = 300_000  # of the reference orbit: a second or more
NODE_MEMORY = 17  # MB: two models of this length
LOADED = re.compile(r"model ([0-9a-f]+): \d+ steps (\w+) in ([0-9.]+) s")
_WAIT = 1800.0
Figures = dict[str, Any]


def run(policy: str, jobs: int, models: int) -> Figures:
    """Render all jobs with a fresh copy of the service."""
    with tempfile.TemporaryDirectory(prefix="rrm-bench-") as folder:
        environment = {"PYTHONPATH": PATHS, "RRM_BENCH_POLICY": policy, "RRM_MODEL_CACHE_BYTES": "0"}
        with running_rrm(Path(folder), **environment) as stack, stack.client() as client:
            _two_nodes(client)
            ids = _named(client, models)
            with _asleep(stack):  # submitting takes longer than rendering
                ordered = [client.submit(model=ids[number], **ORDER) for number in _shuffled(jobs, models)]
            began = time.monotonic()
            bodies = [client.finished(job, _WAIT) for job in ordered]
            seconds = time.monotonic() - began
            return {**_counted(bodies), **_loads(client), "wall_s": round(seconds, 2)}


@contextmanager
def _asleep(stack: Stack) -> Iterator[None]:
    """The nodes do nothing meanwhile."""
    nodes = [process.pid for process in stack.processes("node")]
    for node in nodes:
        os.kill(node, SIGSTOP)
    try:
        yield
    finally:
        for node in nodes:
            os.kill(node, SIGCONT)


ORDER: Figures = {"resource": "mandelbrot", "width": 32, "height": 32, "tile_size": 32, "outputs": ["counts"]}


def _two_nodes(client: Client) -> None:
    client.call("PATCH", "site/local/", json={"max_nodes": 2})
    variables = f"RRM_MODEL_MEMORY={NODE_MEMORY} PYTHONPATH={PATHS}"
    settings = {"min_nodes": 2, "max_nodes": 2, "environment_variables": variables}
    client.call("PATCH", "resource/mandelbrot/", json=settings)
    client.until(lambda: [node["state"] for node in client.live_nodes()], lambda states: states == ["IDLE"] * 2, 60)


def _named(client: Client, models: int) -> list[str]:
    """Models that differ in the length of their orbits, by one step each."""
    place = yaml.safe_load(MODELS.read_text())["models"]["deep-1e100"]["params"]
    params = [{**place, "max_iter": STEPS + number} for number in range(models)]
    return [client.call("POST", "model/", json={"params": each}).json()["id"] for each in params]


def _shuffled(jobs: int, models: int) -> list[int]:
    order = [number % models for number in range(jobs)]
    random.Random(6).shuffle(order)
    return order


def _counted(bodies: Sequence[Mapping[str, Any]]) -> Figures:
    hits, misses = sum(body["warm_hits"] for body in bodies), sum(body["loads"] for body in bodies)
    return {"ranges": hits + misses, "hit_rate": round(hits / (hits + misses), 4)}


def _loads(client: Client) -> Figures:
    """What the nodes themselves say they loaded, and in which way."""
    logs = [client.content(f"node/{node['id']}/log?stream=err&tail=10000") for node in client.live_nodes()]
    found = LOADED.findall(b"\n".join(logs).decode())
    if any(how != "computed" for _, how, _ in found):
        raise SystemExit("some model was not computed: the comparison would not be one")
    return {"loads": len(found), "load_s": round(sum(float(seconds) for *_, seconds in found), 2)}


def measure(jobs: int, models: int, repeats: int) -> Figures:
    """Both policies by turns; of each the run with the median wall time."""
    runs: dict[str, list[Figures]] = {policy: [] for policy in POLICIES}
    for _ in range(repeats):
        for policy in POLICIES:
            runs[policy].append(run(policy, jobs, models))
            print(f"  … {policy}: {runs[policy][-1]}", flush=True)
    median = {name: sorted(some, key=lambda one: float(one["wall_s"]))[len(some) // 2] for name, some in runs.items()}
    shipped, rival = (median[policy] for policy in POLICIES)
    return {
        "jobs": jobs,
        "models": models,
        **{name: {**median[name], "runs": runs[name]} for name in POLICIES},
        "times_as_fast": round(rival["wall_s"] / shipped["wall_s"], 2),
        "saved_s": round(rival["wall_s"] - shipped["wall_s"], 2),
    }


def _show(figures: Figures) -> None:
    print(f"{'policy':<14}{'hit rate':>10}{'loads':>8}{'loading s':>11}{'wall s':>9}")
    for policy in POLICIES:
        one = figures[policy]
        print(f"{policy:<14}{one['hit_rate']:>10.3f}{one['loads']:>8}{one['load_s']:>11.1f}{one['wall_s']:>9.1f}")
    print(f"{figures['times_as_fast']} times as fast; {figures['saved_s']} s saved")


def _plot(figures: Figures, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(9, 3), constrained_layout=True)
    shown = {"hit_rate": "hit rate", "loads": "loads", "wall_s": "seconds until all was done"}
    for axis, (name, title) in zip(axes, shown.items(), strict=True):
        axis.bar(POLICIES, [figures[policy][name] for policy in POLICIES], color=["#075c91", "#a8261d"])
        axis.set_title(title)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = _command.parser(__doc__, quick="fewer jobs and models, once", plot=True)
    parser.add_argument("--jobs", type=int, default=160)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    jobs, models = (40, 5) if options.quick else (options.jobs, options.models)
    figures = measure(jobs, models, 1 if options.quick else options.repeats)
    _show(figures)
    _command.keep(figures, options, _plot)


if __name__ == "__main__":
    main()
