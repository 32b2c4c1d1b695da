"""Nodes as jobs of the cluster: how tests start them, wait for them and end them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from rrm.launchers.base import Batch, Handle, Liveness, NodeSpec, Observation
from rrm.launchers.bootstrap import Renderers
from rrm.launchers.slurm import SlurmLauncher

GRACE = timedelta(seconds=5)
BROUGHT = Renderers("none", "/nowhere", "/usr/bin/python3")
WORKS = "import time; print('ready', flush=True); time.sleep(600)"


def launcher_on(connection: Any) -> SlurmLauncher:
    return SlurmLauncher(connection, lambda _line: BROUGHT, poll_interval=timedelta(), doubt=timedelta(seconds=1))


def end_all(launcher: SlurmLauncher) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda handle: launcher.stop(handle, timedelta()), launcher.survey([]).strays.values()))


def spec(program: str = WORKS, name: str = "", **batch: Any) -> NodeSpec:
    command = ("/usr/bin/python3", "-c", program)
    name = name or f"rrm-{secrets.token_hex(5)}"
    return NodeSpec(name, "mandelbrot", "http://127.0.0.1:9", "token", command=command, batch=Batch(**batch))


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def look(launcher: SlurmLauncher, handle: Handle) -> Observation:
    return launcher.survey([handle]).nodes[handle["name"]]


def comes_to(launcher: SlurmLauncher, handle: Handle, liveness: Liveness, seconds: float = 90) -> Observation:
    seen: list[Observation] = []

    def is_there() -> bool:
        seen.append(look(launcher, handle))
        return seen[-1].liveness is liveness

    try:
        until(is_there, seconds)
    except AssertionError:
        raise AssertionError(f"it is not {liveness.name}: {seen[-1]}") from None
    return seen[-1]


def works(launcher: SlurmLauncher, **batch: Any) -> Handle:
    """A node that has begun to work."""
    handle = launcher.launch(spec(**batch))
    until(lambda: launcher.logs(handle, "out", 1) == "ready\n")
    comes_to(launcher, handle, Liveness.RUNNING)
    return handle
